"""Builds and checks the exhaustive tables: ``python -m bbo_envs.hpo.build build svm --jobs 2``."""

from bbo_envs.errors import require_extra

if __name__ == "__main__":
    require_extra("building the tables", "tables", "joblib", "lda", "mlxtend", "sklearn")
    from bbo_envs.hpo.build.command import main

    main()
