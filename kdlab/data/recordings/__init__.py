"""Long recordings: files are found, read in pieces, resampled, kept on disk and windowed on demand."""
