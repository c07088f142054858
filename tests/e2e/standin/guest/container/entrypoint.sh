#!/bin/bash
exec /usr/bin/supervisord -n -c /etc/supervisor/conf.d/supervisord.conf
