/** The programs that keep logins for Docker: those of Docker itself, and of the largest clouds. */
export const CREDENTIAL_HELPERS: string[] = [
  ...["desktop", "osxkeychain", "pass", "secretservice", "ecr-login", "gcloud", "gcr", "acr-env"],
].map((name) => `docker-credential-${name}`);
