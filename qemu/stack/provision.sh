#!/usr/bin/env bash
# provision.sh BUNDLE PLACEHOLDERS: makes the guest that it runs in a stack-like one, from the bundle disk that is mounted
# at BUNDLE and the NAME=value lines of what is to stand in the image in its secrets' place.
set -euo pipefail
bundle=$1 placeholders=$2
. "$bundle/packages.sh"
. /etc/os-release

cp --recursive --preserve=mode "$bundle"/{etc,opt,srv,usr} /

missing=()
for package in $(service_packages "$VERSION_CODENAME") qemu-guest-agent perl-base util-linux-extra; do
  dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
done
if [[ ${#missing[@]} -gt 0 ]]; then
  echo "step install ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  apt-get -qq update
  apt-get -qq install --yes --no-install-recommends -o Dpkg::Options::=--force-confold "${missing[@]}"
fi
systemctl stop nginx.service supervisor.service 'postgresql*.service'

echo "step put the placeholders in"
# By the names that the services know; in these files stand the placeholders of the trees.
declare -A value
while IFS='=' read -r name placeholder; do value[${name#STACK_SEED_INTERNAL_PROJECT_}]=$placeholder; done <"$placeholders"
zeros=$(printf '%062d' 0)
edits=(
  -e "s/${zeros}ff/${value[PUBLISHABLE_CLIENT_KEY]}/g" -e "s/${zeros}ee/${value[SECRET_SERVER_KEY]}/g"
  -e "s/${zeros}dd/${value[SUPER_SECRET_ADMIN_KEY]}/g" -e "s/${zeros}cc/${value[CRON_SECRET]}/g"
)
sed -i "${edits[@]}" /opt/emulator/schema.sql /etc/emulator/secrets.env /srv/dashboard/assets/app.js

bash "$bundle/services.sh" /
systemctl -q --no-reload enable port-prefix.service
echo 'LABEL=STACKCFG /media/config iso9660 ro,nofail 0 0' >>/etc/fstab
