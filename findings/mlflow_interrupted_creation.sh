#!/usr/bin/env bash
# MLflow cannot open a SQLite database again whose creation a full disk interrupted.
#
# Version: mlflow 3.17.2 (Python 3.11).
# Behavior: the first use of `sqlite:///file` makes the schema by dozens of migrations, which SQLite does not undo as a
#   whole. If the disk is full in the midst of them (here: a limit of the size of files), and has room later, some of
#   the files that are left are refused at every later use, because what the cut-off migration made is there already.
#   Nothing is in them yet; only deleting the file helps.
# Output seen: 100 KB: made up for; 200 KB: table trace_info already exists; 300 KB: table spans already exists;
#   400 KB: table evaluation_datasets already exists; refused: 3.
# Exits 0 while at least one of them is refused, 1 when all are made up for.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check mlflow==3.17.2
cd "$folder"
cat > open.py <<'PYTHON'
import resource
import signal
import sys

from mlflow import MlflowClient

file, limit = sys.argv[1], int(sys.argv[2])
if limit:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    MlflowClient(tracking_uri=f"sqlite:///{file}").search_experiments()
except Exception as error:
    sys.exit(str(error).splitlines()[0])
PYTHON
refused=0
for kilobytes in 100 200 300 400; do
    file="$folder/$kilobytes.db"
    "$folder/venv/bin/python" open.py "$file" $((kilobytes * 1024)) > first.txt 2>&1 && { echo "$kilobytes KB: enough"; continue; }
    if "$folder/venv/bin/python" open.py "$file" 0 > again.txt 2>&1; then
        echo "$kilobytes KB: made up for"
    else
        echo "$kilobytes KB: $(tail -1 again.txt)"
        if grep -q "already exists" again.txt; then refused=$((refused + 1)); fi
    fi
done
echo "refused: $refused"
test "$refused" -gt 0
