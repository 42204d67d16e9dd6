"""What one looks at after training: probes, distances, maps, speed."""
