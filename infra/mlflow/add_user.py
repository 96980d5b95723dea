"""Make a user of an MLflow server, or give them a new password: NEW_USERNAME and NEW_PASSWORD, both from the
environment.

MLFLOW_TRACKING_URI, MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD are the server and its administrator.
"""

from __future__ import annotations

import os
import sys

from mlflow.exceptions import MlflowException
from mlflow.server.auth.client import AuthServiceClient


def main() -> None:
    """Make the user, or change the password of the one there is."""
    missing = [name for name in ("MLFLOW_TRACKING_URI", "NEW_USERNAME", "NEW_PASSWORD") if not os.environ.get(name)]
    if missing:
        sys.exit(f"add_user.py: not set: {', '.join(missing)}")
    name, password = os.environ["NEW_USERNAME"], os.environ["NEW_PASSWORD"]
    client = AuthServiceClient(os.environ["MLFLOW_TRACKING_URI"])
    try:
        try:
            client.create_user(name, password)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            client.update_user_password(name, password)
    except MlflowException as error:
        sys.exit(f"add_user.py: {os.environ['MLFLOW_TRACKING_URI']}: {error.message}")
    print(f"{name} may log in")


if __name__ == "__main__":
    main()
