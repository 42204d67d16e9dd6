"use strict";
(() => {
  const top = document.documentElement;
  let kept = null;
  try { kept = localStorage.getItem("theme"); } catch { /* storage may be closed to files */ }
  if (kept === "light" || kept === "dark") top.dataset.theme = kept;
  const button = document.querySelector(".theme");
  if (button) {
    button.hidden = false;
    button.addEventListener("click", () => {
      const dark = top.dataset.theme ? top.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
      top.dataset.theme = dark ? "light" : "dark";
      try { localStorage.setItem("theme", top.dataset.theme); } catch { /* the choice then lasts for this page */ }
    });
  }

  const filters = document.querySelector("form.filters[data-complete]");
  if (filters && filters.dataset.rows) {
    // A board of several pages: filters and sorting act on all its rows, which come as a script of their own.
    const all = document.getElementById("all-rows"), pages = [...document.querySelectorAll("[data-track], nav.pages")];
    let loading = null;
    const load = () => loading ||= new Promise((done) => {
      const script = document.createElement("script");
      script.src = filters.dataset.rows;
      script.addEventListener("load", () => done(window.LONGTAIL_ROWS || []));
      document.head.append(script);
    });
    const show = async (everything) => {
      const wanted = [...new FormData(filters)].filter(([, value]) => value);
      const open = everything || wanted.length > 0;
      all.hidden = !open;
      for (const part of pages) part.hidden = open;
      if (!open) return;
      const rows = await load();
      const found = rows.filter((row) => wanted.every(([name, value]) => row[name] === value));
      const names = new Map([...filters.querySelectorAll("[name=badge] option")].map((each) => [each.value, each.textContent]));
      const fixed = (value) => value === null ? "–" : value.toFixed(2);
      all.querySelector("tbody").replaceChildren(...found.map((row) => {
        const line = document.createElement("tr"), anchor = document.createElement("a");
        anchor.href = row.path;
        anchor.textContent = row.method;
        const cells = [row.rank ?? "–", anchor, fixed(row.value), row.low === null ? "–" : `[${fixed(row.low)}, ${fixed(row.high)}]`,
          row.track, row.backbone || "–", row.date || "–", names.get(row.badge) || row.badge || "–"];
        cells.forEach((content, place) => {
          const cell = document.createElement("td");
          if ([0, 2, 3].includes(place)) cell.className = "num";
          cell.append(content);
          line.append(cell);
        });
        return line;
      }));
      filters.querySelector("output").textContent = `${found.length} of ${rows.length} shown`;
    };
    filters.addEventListener("submit", (event) => { event.preventDefault(); show(false); });
    filters.addEventListener("change", () => show(false));
    filters.querySelector("button.all").addEventListener("click", () => show(true));
    filters.querySelector("button[type=submit]").hidden = true;
  } else if (filters && filters.dataset.complete === "1") {
    const rows = [...document.querySelectorAll("table.board tbody tr")];
    const apply = (event) => {
      if (event) event.preventDefault();
      const wanted = [...new FormData(filters)].filter(([, value]) => value);
      let shown = 0;
      for (const row of rows) {
        row.hidden = !wanted.every(([name, value]) => row.dataset[name] === value);
        shown += !row.hidden;
      }
      for (const part of document.querySelectorAll("[data-track]")) part.hidden = !part.querySelector("tbody tr:not([hidden])");
      filters.querySelector("output").textContent = `${shown} of ${rows.length} shown`;
    };
    filters.addEventListener("submit", apply);
    filters.addEventListener("change", apply);
    filters.querySelector("button").hidden = true;
  }

  const tables = [...document.querySelectorAll("table[data-sortable]")];
  for (const table of tables) {
    const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "sort";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") !== (head.classList.contains("num") ? "descending" : "ascending");
        const sign = head.classList.contains("num") === down ? -1 : 1;
        for (const each of heads) each.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", sign < 0 ? "descending" : "ascending");
        const key = (row) => {
          const cell = row.cells[column], text = (cell.dataset.value ?? cell.textContent).trim();
          const number = parseFloat(text.replace(/^[^\d.+-]+/, ""));
          return head.classList.contains("num") ? (Number.isNaN(number) ? null : number) : text === "–" ? null : text.toLowerCase();
        };
        const rows = [...body.rows].map((row) => [key(row), row]);
        rows.sort(([a], [b]) => a === b ? 0 : a === null ? 1 : b === null ? -1 : (a < b ? -sign : sign));
        body.append(...rows.map(([, row]) => row));
      });
    });
  }
  // A table that is wider than its place says so, in words too.
  const regions = [...document.querySelectorAll(".scroll")];
  const tell = () => { for (const each of regions) each.classList.toggle("wider", each.scrollWidth > each.clientWidth + 8); };
  addEventListener("resize", tell);
  document.addEventListener("toggle", tell, true);
  tell();

  const choice = document.querySelector(".columns-choice");
  if (choice && tables.length) {
    choice.hidden = false;
    [...tables[0].tHead.rows[0].cells].forEach((head, column) => {
      if (column < 3) return;
      const label = document.createElement("label"), box = document.createElement("input");
      box.type = "checkbox";
      box.checked = true;
      const small = head.querySelector("small");
      label.append(box, head.textContent.replace(small ? small.textContent : "", ""));
      box.addEventListener("change", () => {
        for (const table of tables) for (const row of table.rows) if (row.cells[column]) row.cells[column].hidden = !box.checked;
      });
      choice.append(label);
    });
  }

  const compare = document.querySelector("form.compare");
  if (compare) {
    compare.addEventListener("submit", (event) => {
      event.preventDefault();
      const options = [...document.querySelectorAll("#methods option")].map((each) => [each.value.toLowerCase(), each.dataset.id]);
      const find = (text) => {
        const typed = text.trim().toLowerCase();
        const found = options.find(([name]) => name === typed) || options.find(([name]) => name.startsWith(typed))
          || options.find(([name]) => name.includes(typed));
        return typed && found ? found[1] : null;
      };
      const pair = [compare.elements.a, compare.elements.b].map((each) => find(each.value));
      const told = compare.querySelector("output");
      if (pair.includes(null)) { told.textContent = "No method has that name."; return; }
      if (pair[0] === pair[1]) { told.textContent = "Choose two methods."; return; }
      const address = pair.sort().join("--");
      if (!window.LONGTAIL_PAIRS || window.LONGTAIL_PAIRS.includes(address)) location.href = `${compare.dataset.compare}${address}.html`;
      else told.textContent = "These two share no board.";
    });
  }

  const results = document.getElementById("results");
  if (results) addEventListener("DOMContentLoaded", () => {
    const words = (new URLSearchParams(location.search).get("q") || "").slice(0, 200);
    const box = document.getElementById("q");
    if (box) box.value = words;
    const plain = (text) => text.normalize("NFKD").replace(/[\u0300-\u036f]/g, "").toLowerCase();
    const bare = (text) => text.replace(/[^\p{L}\p{N}]+/gu, "");
    const pieces = (text) => new Set([...text].map((_, i) => text.slice(i, i + 3)).filter((piece) => piece.length === 3));
    const alike = (a, b) => {
      const one = pieces(a), other = pieces(b);
      let both = 0;
      for (const piece of one) both += other.has(piece);
      return one.size + other.size ? (2 * both) / (one.size + other.size) : 0;
    };
    const terms = plain(words).split(/\s+/).map((term) => [term, bare(term)]).filter(([, short]) => short);
    if (!terms.length) return;
    const split = (text) => text.split(/[^\p{L}\p{N}]+/u);
    const documents = (window.LONGTAIL_SEARCH || []).map(([title, kind, path, names]) => {
      const text = plain(`${title} ${names}`), parts = split(text);
      return {title, kind, path, text, head: plain(title), short: bare(text), parts, spaced: ` ${parts.join(" ")} `};
    });
    const asked = plain(words).trim();
    // As the server orders them: no submission, a title typed whole, whole words, a paper, and then the title's words.
    const order = (each) => [each.kind !== "submission", each.head === asked, each.kind === "paper"].map(Number);
    const score = (each, fuzzy) => terms.reduce((sum, [term, short]) => {
      const hit = each.spaced.includes(` ${split(term).filter(Boolean).join(" ")} `) ? 3
        : each.text.includes(term) || each.short.includes(short) ? 2
        : fuzzy && short.length > 3 && each.parts.some((part) => part.length > 3 && alike(part, short) >= 0.45) ? 1 : 0;
      return sum && hit ? sum + hit : 0;
    }, 1);
    const ranked = (fuzzy) => documents.map((each) => [score(each, fuzzy), each]).filter(([points]) => points)
      .map(([points, each]) => {
        const [own, exact, paper] = order(each), held = terms.filter(([term]) => each.head.includes(term)).length;
        return [[own, exact, points, paper, held], each];
      })
      .sort(([a], [b]) => b.map((value, i) => value - a[i]).find((gap) => gap) || 0).map(([, each]) => each);
    let all = ranked(false);
    if (!all.length) all = ranked(true);
    const found = all.slice(0, 60);
    document.getElementById("found").textContent = `${found.length} found for “${words}”.`;
    for (const {title, kind, path} of found) {
      const item = document.createElement("li"), anchor = document.createElement("a"), tag = document.createElement("span");
      anchor.href = path; anchor.textContent = title; tag.className = "tag"; tag.textContent = kind;
      item.append(anchor, " ", tag); results.append(item);
    }
  });
})();
