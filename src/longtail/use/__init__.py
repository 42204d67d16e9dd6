"""What one does with a finished run: predict pictures, and export the network for others to load."""

from longtail.use.card import card
from longtail.use.export import Agreement, export
from longtail.use.hub import hub_folder
from longtail.use.network import Trained, trained
from longtail.use.predict import predict, predict_files

__all__ = ["Agreement", "Trained", "card", "export", "hub_folder", "predict", "predict_files", "trained"]
