"""What one version of kdlab does, part by part, as plain values; ``benchmarks.long.compare_versions`` compares two."""
