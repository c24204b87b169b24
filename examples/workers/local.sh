#!/bin/sh
# Workers on this machine: STUDY and HWSEARCH_STORAGE say which search, COUNT how many.
set -eu
: "${HWSEARCH_STORAGE:?the address of the database}" "${STUDY:?the name of the search}"
count=${COUNT:-2}

trap 'kill $pids 2>/dev/null || true' TERM INT # they give their trials back
pids=""
for _ in $(seq "$count"); do
    ${HWSEARCH:-hwsearch} worker --study "$STUDY" ${DIRECTORY:+--directory "$DIRECTORY"} &
    pids="$pids $!"
done
status=0
for pid in $pids; do
    wait "$pid" || status=$?
done
exit $status
