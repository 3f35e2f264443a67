"""Keep a download on disk: staging folder, journal, final rename."""
