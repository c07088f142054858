CREATE TABLE "ApiKeySet" (
  "projectId" text NOT NULL,
  "id" uuid NOT NULL,
  "publishableClientKey" text NOT NULL,
  "secretServerKey" text NOT NULL,
  "superSecretAdminKey" text NOT NULL,
  PRIMARY KEY ("projectId", "id")
);

CREATE TABLE "LocalEmulatorProject" (
  "absoluteFilePath" text PRIMARY KEY,
  "projectId" text NOT NULL UNIQUE
);

