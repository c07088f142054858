/** The template `release`: an image that a GitHub repository publishes. */

import { type Draft, firstPort, head, type Wishes } from "./template.ts";

/** The files for a project of this name. */
export function release({ name, values }: Wishes): Promise<Draft> {
  const { repo, tag = "latest", asset = `${name}-{arch}.qcow2`, port = "8080" } = values;
  const files = {
    "hotboot.json": `${head(name)}
  "image": {
    // Where the image is published: https://github.com/${repo}/releases
    "release": {
      "repository": ${JSON.stringify(repo)},
      "tag": ${JSON.stringify(tag)}, // {branch} stands for the branch that 'hotboot pull --branch' names
      "branch": "main", // the branch without that option
      "assets": {
        // CHANGE: the file's name in the release. {arch} stands for amd64 or arm64.
        "disk": ${JSON.stringify(asset)}
        // If the image boots a kernel directly: "kernel": "${name}-{arch}.kernel", "initrd": "${name}-{arch}.initrd"
      },
      "requireDigest": true // refuse a file of which GitHub gives no SHA-256
      // For 'hotboot pull --pr' and '--run', the workflow that builds images and what it leaves:
      // , "workflow": "image.yml", "artifact": "${name}-{arch}"
    }
    // To refuse images that your workflow has not built and attested:
    // , "attestation": { "workflow": "${repo}/.github/workflows/image.yml", "required": true }
  },

  "machine": {
    "memory": 2048, // MiB. A snapshot takes up to as much on the disk
    "cpus": 2,
    "network": "restricted" // the guest reaches neither this machine nor the internet: "open" lets it
  },

  // CHANGE: "guest" is where the service listens in the guest, "host" the port of 127.0.0.1 that leads there.
  "ports": {
    "web": { "guest": ${port}, "host": ${firstPort(name)} }
  },

  // CHANGE: the guest is up when each of these answers a GET request with 200.
  "health": [
    { "name": "web", "port": "web", "path": "/" }
  ],

  // If the image has a program that puts secrets in, name them here, so that each instance gets its own. The proof are
  // requests that show it: the old value is refused, and the new one accepted.
  // "secrets": [{ "name": "API_KEY", "placeholder": "what stands in the image in its place" }],
  // "rotation": {
  //   "command": ["/usr/local/sbin/rotate"], // in the guest; it reads NAME=value lines
  //   "proof": [
  //     { "name": "the placeholder is refused", "port": "web", "path": "/", "headers": { "x-api-key": "\${placeholder.API_KEY}" }, "status": 401 },
  //     { "name": "the new key is accepted", "port": "web", "path": "/", "headers": { "x-api-key": "\${secret.API_KEY}" } }
  //   ]
  // },

  // 'hotboot run -- npm test' gives these variables to your program.
  "environment": {
    "WEB_URL": "http://127.0.0.1:\${ports.web.host}"
  },

  // Seconds until all health checks pass.
  "timeouts": { "boot": 240, "resume": 45 }
}
`,
  };
  const notes = ["check the ports and the health check in hotboot.json: they are guesses"];
  return Promise.resolve({ files, notes });
}
