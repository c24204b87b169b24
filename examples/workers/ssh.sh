#!/bin/sh
# Workers by ssh: sh ssh.sh host1 host2 …; each host has hwsearch and can reach both servers.
set -eu
study=kws
storage=postgresql+psycopg://hwsearch@db.example/studies # the password: in each host's ~/.pgpass
workers=2

for host in "$@"; do
    ssh "$host" "HWSEARCH_STORAGE='$storage' nohup hwsearch worker --study '$study' \
        --workers $workers --directory /var/tmp/hwsearch >hwsearch-$study.log 2>&1 &"
done
