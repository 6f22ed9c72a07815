"""JSON schemas of run files and study files, made from what the parser and the study reader accept."""
