"""How the exhaustive tables that ship are computed: ``python -m bbo_envs.hpo.build --help``."""
