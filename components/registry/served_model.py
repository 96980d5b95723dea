"""What MLflow loads for a registered model: code, not a pickle. It knows no model; `loader` in its configuration names
who opens the folder.

MLflow keeps a copy of this file with each model and runs it. Serve one with
`MLFLOW_TRACKING_URI=sqlite:///store/mlflow.db mlflow models serve -m models:/pixsem-generator@champion --env-manager
local -h 127.0.0.1 -p 5001` and ask it with `curl 127.0.0.1:5001/invocations -H 'Content-Type: application/json' -d
'{"dataframe_records": [{"prompt": "a red circle"}]}'`.
"""

import importlib
from typing import Any

import mlflow
import pandas
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import PythonModel


class ServedModel(PythonModel):
    """Rows in, rows out; what a user got wrong comes back as an invalid parameter in words."""

    def load_context(self, context: Any) -> None:
        """Open the model's folder by its loader."""
        module, function = context.model_config["loader"].split(":")
        self._answer = getattr(importlib.import_module(module), function)(context.artifacts["model"])

    def predict(self, context: Any, model_input: pandas.DataFrame, params: Any = None) -> Any:
        """Answer a table of rows, or a list of dicts, by a table."""
        table = pandas.DataFrame(model_input)
        rows = [
            {
                name: value for name, value in row.items() if not (value is None or value != value)
            }  # NaN marks what was not given
            for row in table.to_dict("records")
        ]
        try:
            return pandas.DataFrame(self._answer(rows))
        except ValueError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from None


mlflow.models.set_model(ServedModel())
