"""Classical optimisers: thin adapters on well-kept libraries, each imported when used."""
