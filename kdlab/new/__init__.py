"""``kdlab new``: a study on a user's own recordings, or a shipped experiment, as files to edit."""
