# Waits until the program that started the laboratory closes the pipe, or is gone, then removes what
# the laboratory made: hosts, what the daemons on them made, networks, volumes, images. Nothing else.
lab="$1"
trap '' INT TERM HUP
cat >/dev/null

# An engine that hangs keeps nobody waiting.
docker() { timeout -k 5 60 docker "$@"; }

hosts=$(docker ps -aq --filter "label=wayside.lab=$lab")
networks=$(for host in $hosts; do
    docker inspect -f '{{range $name, $_ := .NetworkSettings.Networks}}{{println $name}}{{end}}' "$host"
done | grep '^wayside-' | sort -u)
keys=$(for network in $networks; do
    docker network inspect -f '{{index .Labels "wayside.device"}}' "$network"
done | sort -u)
[ -z "$hosts" ] || docker rm -f -v $hosts
for key in $keys; do
    modules=$(docker ps -aq --filter "label=wayside.device=$key")
    [ -z "$modules" ] || docker rm -f -v $modules
    volumes=$(docker volume ls -q --filter "label=wayside.device=$key")
    [ -z "$volumes" ] || docker volume rm -f $volumes
done
for network in $networks $(docker network ls -q --filter "label=wayside.lab=$lab"); do
    docker network rm "$network"
done
volumes=$(docker volume ls -q --filter "label=wayside.lab=$lab")
[ -z "$volumes" ] || docker volume rm -f $volumes
images=$(docker image ls -q --no-trunc --filter "label=wayside.lab=$lab" | sort -u)
[ -z "$images" ] || docker image rm -f $images
