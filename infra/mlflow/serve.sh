#!/usr/bin/env bash
# MLflow's server behind passwords, in the foreground: runs, models and users in Postgres, artifacts in an S3-compatible store. Artifacts go
# through the server, so that its clients hold no key of the store. Every setting comes from the environment (server.env.example says
# which), so that no secret stands on a command line or in a file of the repository.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

fail() {
    echo "serve.sh: $*" >&2
    exit 2
}

for name in PGHOST PGDATABASE PGUSER PGPASSWORD MLFLOW_AUTH_ADMIN_USERNAME MLFLOW_AUTH_ADMIN_PASSWORD \
    MLFLOW_FLASK_SERVER_SECRET_KEY MLFLOW_ARTIFACTS_DESTINATION; do
    [[ -n ${!name:-} ]] || fail "$name is not set; $here/server.env.example says what it is"
done
((${#MLFLOW_AUTH_ADMIN_PASSWORD} >= 12)) || fail "MLFLOW_AUTH_ADMIN_PASSWORD has fewer than 12 characters, which MLflow refuses"
host=${MLFLOW_HOST:-127.0.0.1}
if [[ $host != 127.0.0.1 && $host != localhost && -z ${MLFLOW_SERVER_ALLOWED_HOSTS:-} ]]; then
    fail "MLFLOW_HOST=$host opens the server to the network: set MLFLOW_SERVER_ALLOWED_HOSTS to the names it is called by"
fi

# MLflow itself would try for minutes and end in a traceback.
python - "${POSTGRES_WAIT_SECONDS:-60}" <<'WAIT'
import sys
import time

import psycopg2

end = time.monotonic() + float(sys.argv[1])
while True:
    try:
        psycopg2.connect("", connect_timeout=5).close()
        break
    except psycopg2.OperationalError as error:
        reason = " ".join(str(error).split())
    if time.monotonic() > end:
        sys.exit(f"serve.sh: no Postgres after {sys.argv[1]} s: {reason}")
    time.sleep(1)
WAIT

# Empty: the driver reads PGHOST, PGPORT, PGDATABASE, PGUSER and PGPASSWORD.
export MLFLOW_BACKEND_STORE_URI=postgresql+psycopg2://
export MLFLOW_AUTH_CONFIG_PATH=$here/basic-auth.ini
# No usage reports, and none of the processes that score traces, of which there are none.
export MLFLOW_DISABLE_TELEMETRY=true DO_NOT_TRACK=true MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false
exec python -m mlflow server --app-name basic-auth --serve-artifacts --host "$host" --port "${MLFLOW_PORT:-5000}" \
    --workers "${MLFLOW_WORKERS:-2}"
