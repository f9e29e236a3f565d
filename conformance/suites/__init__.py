"""Official suites, unchanged, against a server: what each file is for stands at its head."""
