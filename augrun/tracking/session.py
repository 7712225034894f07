"""The connection to an MLflow server or database, and its limits."""

from __future__ import annotations

DATABASE, ARTIFACTS, UNSENT = "mlflow.db", "mlartifacts", "unsent.json"


KIND = {"mlflow.experimentKind": "custom_model_development"}  # else the UI opens on pages for chat programs


NOTE, CORPORA, VIEW = "mlflow.note.content", "augrun.corpora", "augrun.view"


METRICS_A_BATCH, PARAMS_A_BATCH, PARAM_LENGTH = 1000, 100, 6000  # MLflow's limits


EXPERIMENT_TAG_LENGTH = 5000  # of servers before MLflow 3


ARTIFACT_FILES = (
    *("results.json", "config.yaml", "record.json", "label_validity.json", "quality.json", "feature_means.json"),
    *("listen*.html", "report.html", "per_class.json", "confusion.json", "cost.json"),
)


ARTIFACT_FOLDERS = ("tables", "figures", "audio", "health", "predictions", "curves", "profile")


TAG_LENGTH = 8000  # MLflow's limit


def by(fingerprint: str, kind: str) -> str:
    """MLflow's filter for the runs of a fingerprint."""
    return f"tags.`augrun.fingerprint` = '{fingerprint}' AND tags.`augrun.kind` = '{kind}'"
