-- One database for each program: Dagster and Optuna both keep a table named alembic_version.
CREATE DATABASE dagster;
CREATE DATABASE optuna;
