/** Where `init` reads and writes, in the working directory: its permissions are for these names. */

/** Where compose looks for its file. Source: docker's documentation, "How Compose works". */
export const COMPOSE_FILES = ["compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml"];

/** What a template may write: these files, and everything in the directory. */
export const WRITTEN = ["hotboot.json", "hotboot", "compose.yaml"];
