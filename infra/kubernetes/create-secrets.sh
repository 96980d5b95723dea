#!/usr/bin/env bash
# Make the secrets that the manifests name, with random passwords, in the namespace pixsem. One that is there already stays as it is.
# The passwords go to kubectl through pipes: none is on a command line, in a file, or printed.
#
#   infra/kubernetes/create-secrets.sh
#   kubectl --namespace pixsem get secret pixsem-mlflow --output 'go-template={{index .data "MLFLOW_AUTH_ADMIN_PASSWORD" | base64decode}}'
set -euo pipefail

namespace=${NAMESPACE:-pixsem}

random() {
    od -An -v -N24 -tx1 /dev/urandom | tr -d ' \n'
}

# make NAME OPTION...: one secret, with kubectl's own options for what is in it.
make() {
    local name=$1 found
    shift
    found=$(kubectl --namespace "$namespace" get secret "$name" --ignore-not-found --output name) || {
        echo "create-secrets.sh: the cluster does not answer, or has no namespace $namespace; make that first: kubectl apply -f infra/kubernetes/services/namespace.yaml" >&2
        exit 2
    }
    if [[ -n $found ]]; then
        echo "$name is there already"
        return
    fi
    kubectl --namespace "$namespace" create secret generic "$name" "$@"
}

make pixsem-postgres --from-env-file=<(echo "PGUSER=mlflow" && echo "PGPASSWORD=$(random)")
make pixsem-mlflow --from-env-file=<(echo "MLFLOW_AUTH_ADMIN_USERNAME=admin" && echo "MLFLOW_AUTH_ADMIN_PASSWORD=$(random)" &&
    echo "MLFLOW_FLASK_SERVER_SECRET_KEY=$(random)")
# What runs log in to MLflow with; the job mlflow-user makes this user.
make pixsem-tracking --from-env-file=<(echo "MLFLOW_TRACKING_USERNAME=pixsem" && echo "MLFLOW_TRACKING_PASSWORD=$(random)")

# What clients of a RayService send.
make pixsem-serve --from-env-file=<(echo "PIXSEM_API_KEY=$(random)")

# One pair of keys, in two forms: for the store's clients, and for the store. A cloud's own store needs only the first two.
key=$(random)
secret=$(random)
make pixsem-object-store --from-file=AWS_ACCESS_KEY_ID=<(printf %s "$key") --from-file=AWS_SECRET_ACCESS_KEY=<(printf %s "$secret") \
    --from-file=s3.json=<(
        printf '{"identities": [{"name": "pixsem", "credentials": [{"accessKey": "%s", "secretKey": "%s"}], "actions": ["Admin", "Read", "Write", "List", "Tagging"]}]}' \
            "$key" "$secret"
    )
