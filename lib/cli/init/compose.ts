/** The template `compose`: docker compose in the guest, which cloud-init sets up. Takes the project's own compose file. */

import { type ComposeFile, readComposeFile } from "./compose_file.ts";
import { type Draft, EMULATED_CPU, firstPort, head, placeholder, type Wishes } from "./template.ts";

/** Debian's image for clouds, of this date: https://cloud.debian.org/images/cloud/trixie/ has newer ones and `SHA512SUMS`. */
const DEBIAN = {
  date: "20260712-2537",
  amd64:
    "7ae53e9dbee282bfc16f289dec483dde3a8598769c38a267948310f7a2a52c662620198603bc52c142627efba379863d16079698a10b34102d55bcedd40e8d32",
  arm64:
    "8543d795f2fde630eb66c492f245a8c1da19dedc636e0a8e7b3d0f95920e1a05aa911ef2d82d177d41cc53ced5fccbd2a3945d07fa5e15018914c4d864bb07ed",
};

/** The files for a project of this name. @throws {HotbootError} if the compose file gives nothing to ask for. */
export function compose({ name, values, compose: own }: Wishes): Promise<Draft> {
  const port = firstPort(name);
  const file: ComposeFile = own ? readComposeFile(own.text, own.path) : {
    ports: [{ name: "web", port: 8080, isHttp: true }],
    usesFiles: false,
    notes: [],
  };
  const path = own?.path ?? "compose.yaml";
  const secret = own ? undefined : placeholder();
  const files = {
    "hotboot.json": profile(name, values.base, file, path, port, secret),
    "hotboot/user-data.yaml": userData(file, path, secret !== undefined),
    "hotboot/guest/machine/usr/local/sbin/rotate": ROTATE,
    "hotboot/guest/machine/etc/systemd/system/compose.service": UNIT,
    "hotboot/guest/machine/etc/systemd/system/emulated-cpu.service": EMULATED_CPU,
    ...(own ? {} : { "compose.yaml": COMPOSE }),
  };
  const notes = [
    ...file.notes,
    ...(file.usesFiles
      ? [`${path} refers to other files, so everything in this directory goes into the image: .git and .env too`]
      : []),
    ...(own
      ? ["hotboot.json has no secrets yet: it says where to name them"]
      : ["compose.yaml is an example: put your own services in it"]),
    ...(values.base === undefined
      ? ["the first build downloads Debian's cloud image, about 350 MB, and packages in the guest"]
      : []),
  ];
  return Promise.resolve({ files, notes });
}

function profile(
  name: string,
  base: string | undefined,
  { ports, usesFiles }: ComposeFile,
  path: string,
  first: number,
  secret: string | undefined,
): string {
  const http = ports.find(({ isHttp }) => isHttp)!;
  const rows = ports.map(({ name, port }, index) => {
    const host = secret === undefined && port >= 1024 ? port : first + index;
    return `    ${JSON.stringify(name)}: { "guest": ${port}, "host": ${host} }`;
  });
  return `${head(name)}
  "image": {
    "build": {
      // cloud-init sets this image up once, in the machine below. What is on the disk then is the image.
      "cloudInit": {
${baseImage(base)}
        "disk": 8192, // MiB
        "userData": "hotboot/user-data.yaml",
        // A disk for the guest with these files, and what these directories contain.
        "bundle": { "label": "PROJECT", "paths": ${
    usesFiles ? '["."]' : `["hotboot/guest", ${JSON.stringify(path)}]`
  } },
        "timeout": 3600, // seconds for all of it
        "silence": 900 // seconds without a sign of life
      }
    }
  },

  "machine": {
    "memory": 2048, // MiB. A snapshot takes up to as much on the disk
    "cpus": 2,
    "network": "open" // docker pulls images. "restricted" cuts the guest off from this machine and the internet
  },

  // "guest" is a port that ${path} publishes, "host" the port of 127.0.0.1 that leads there: change that if it is taken.
  "ports": {
${rows.join(",\n")}
  },

  // The guest is up when each of these answers a GET request with 200.
  "health": [
    { "name": ${JSON.stringify(http.name)}, "port": ${JSON.stringify(http.name)}, "path": ${
    secret === undefined ? '"/" } // CHANGE: a path that is fast, and fails if the service does' : '"/health" }'
  }
  ],
${secret === undefined ? secretsToCome(http.name) : secrets(http.name, secret)}
  // The containers sleep in the snapshot. They wake before the secrets are new, because docker could not replace them.
  "freeze": [
    { "unit": "docker-*.scope", "thaw": "before rotation" }
  ],

  // Seconds until all health checks pass.
  "timeouts": { "boot": 240, "resume": 60 }
}
`;
}

function baseImage(file?: string): string {
  if (file !== undefined) {
    return `        // The disk to begin with. It has a boot loader and cloud-init. {arch} stands for amd64 or arm64.
        "base": { "file": ${JSON.stringify(file)} },`;
  }
  const { date, amd64, arm64 } = DEBIAN;
  const url = `https://cloud.debian.org/images/cloud/trixie/${date}/debian-13-genericcloud-{arch}-${date}.qcow2`;
  return `        // The disk to begin with: Debian 13. If it is gone, take a newer date, and the digests from SHA512SUMS there.
        "base": {
          "url": ${JSON.stringify(url)},
          "sha512": {
            "amd64": "${amd64}",
            "arm64": "${arm64}"
          }
        },`;
}

function secrets(port: string, initial: string): string {
  return `
  // Each new instance gets its own key. In the image there is only this text in its place.
  "secrets": [
    { "name": "API_KEY", "placeholder": "${initial}" }
  ],
  "rotation": {
    // This program in the guest gives the secrets to docker compose, as variables. compose then replaces the containers
    // that use them.
    "command": ["/usr/local/sbin/rotate"],
    "timeout": 120, // seconds for the program, and again for the proof
    // Then hotboot asks these. An instance starts only if all answers are right.
    "proof": [
      {
        "name": "the placeholder is refused",
        "port": ${JSON.stringify(port)},
        "path": "/",
        "headers": { "x-api-key": "\${placeholder.API_KEY}" },
        "status": 401
      },
      {
        "name": "the new key is accepted",
        "port": ${JSON.stringify(port)},
        "path": "/",
        "headers": { "x-api-key": "\${secret.API_KEY}" }
      }
    ]
  },

  // 'hotboot run -- npm test' gives these variables to your program.
  "environment": {
    "WEB_URL": "http://127.0.0.1:\${ports.${port}.host}",
    "API_KEY": "\${secret.API_KEY}"
  },
`;
}

function secretsToCome(port: string): string {
  return `
  // CHANGE: to give each instance its own secrets, take away the // below, and write \${API_KEY} in the environment of the
  // services that need it. hotboot/guest/machine/usr/local/sbin/rotate gives new values to docker compose, which replaces
  // these containers. The proof are requests that show it. Also add to hotboot/user-data.yaml what it says there.
  // "secrets": [{ "name": "API_KEY", "placeholder": "${placeholder()}" }],
  // "rotation": {
  //   "command": ["/usr/local/sbin/rotate"],
  //   "timeout": 120,
  //   "proof": [
  //     { "name": "the placeholder is refused", "port": ${
    JSON.stringify(port)
  }, "path": "/", "headers": { "x-api-key": "\${placeholder.API_KEY}" }, "status": 401 },
  //     { "name": "the new key is accepted", "port": ${
    JSON.stringify(port)
  }, "path": "/", "headers": { "x-api-key": "\${secret.API_KEY}" } }
  //   ]
  // },
`;
}

function userData({ usesFiles }: ComposeFile, path: string, hasSecrets: boolean): string {
  const guest = usesFiles ? "/run/bundle/hotboot/guest/machine" : "/run/bundle/machine";
  const placeholders = [
    "mkdir -p /run/seed",
    "mount -o ro LABEL=cidata /run/seed",
    "install -m 600 /run/seed/placeholders.env /etc/compose.env",
  ].map((line) => `  ${hasSecrets ? "" : "# "}- ${line}`).join("\n");
  return `#cloud-config
# Sets the guest up, once. hotboot shows the lines that begin with "step"; 'hotboot build --verbose' shows everything.
# As emulated-cpu.service does it at each boot of the image.
bootcmd:
  - systemd-detect-virt | grep -qx qemu && echo 0 >/proc/sys/kernel/randomize_va_space || true
package_update: true
packages: [qemu-guest-agent, docker.io, docker-cli, docker-compose] # CHANGE: add what else the guest needs
apt: {preserve_sources_list: true} # the mirror that the base image names
runcmd:
  - set -e # otherwise only the last line could fail
  - echo step copy the project
  - mkdir -p /run/bundle /srv/project
  - mount -o ro LABEL=PROJECT /run/bundle
  - cp --recursive --preserve=mode ${guest}/. /
  - cp --recursive --preserve=mode /run/bundle/${usesFiles ? "." : path} /srv/project
  # What stands in the secrets' places until the first rotation.${
    hasSecrets ? "" : " If hotboot.json has secrets, take away the # below."
  }
${placeholders}
  - systemctl daemon-reload
  - systemctl enable emulated-cpu.service
  - systemctl start qemu-guest-agent.service docker.service
  - echo step pull, build and start the containers
  - systemctl enable --now compose.service
`;
}

const UNIT = `[Unit]
Description=The docker compose project
Wants=network-online.target
Requires=docker.service
After=network-online.target docker.service

[Service]
Type=oneshot
RemainAfterExit=yes
WorkingDirectory=/srv/project
# The secrets, which compose fills in where it finds \${NAME}.
EnvironmentFile=-/etc/compose.env
ExecStart=/usr/bin/docker compose up --detach
ExecStop=/usr/bin/docker compose stop
TimeoutStartSec=0
# Where hotboot shows it if the start fails: 'hotboot logs'.
StandardOutput=journal+console

[Install]
WantedBy=multi-user.target
`;

const ROTATE = `#!/bin/sh
# hotboot calls this at each start. Standard input has the secrets, as NAME=value lines. Exit code 0 says that they are in effect.
set -eu
umask 077
cat >/etc/compose.env.new
mv /etc/compose.env.new /etc/compose.env # the next boot finds them, too
set -a
. /etc/compose.env
cd /srv/project
exec docker compose up --detach
`;

const COMPOSE = `# An example: a web server that answers only to those who have the key. Put your own services here.
services:
  web:
    image: nginx:1.29-alpine
    ports: ["8080:80"] # hotboot.json names the first of the two
    environment:
      API_KEY: \${API_KEY} # a secret of hotboot.json: the container is replaced when it changes
    configs:
      - source: site
        target: /etc/nginx/templates/default.conf.template

configs:
  site:
    # The image puts the variable in. $$ is compose's way to write $.
    content: |
      server {
        listen 80;
        location = /health { return 200 "healthy\\n"; }
        location / {
          if ($$http_x_api_key != "$\${API_KEY}") { return 401 "the key is wrong\\n"; }
          return 200 "hello\\n";
        }
      }
`;
