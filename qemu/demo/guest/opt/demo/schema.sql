CREATE ROLE demo LOGIN;

CREATE ROLE root SUPERUSER LOGIN;

CREATE TABLE "Project" (
  "id" text PRIMARY KEY,
  "displayName" text NOT NULL
);

CREATE TABLE "ApiKeySet" (
  "projectId" text PRIMARY KEY REFERENCES "Project",
  "publishableClientKey" text NOT NULL,
  "secretServerKey" text NOT NULL,
  "superSecretAdminKey" text NOT NULL
);

CREATE TABLE "Note" (
  "id" serial PRIMARY KEY,
  "text" text NOT NULL
);

CREATE TABLE "CronRun" (
  "count" bigint NOT NULL,
  "last" timestamptz
);

GRANT SELECT ON "Project", "ApiKeySet" TO demo;

GRANT SELECT, INSERT ON "Note" TO demo;

GRANT USAGE ON SEQUENCE "Note_id_seq" TO demo;

GRANT SELECT, UPDATE ON "CronRun" TO demo;

INSERT INTO "Project" VALUES ('internal', 'hotboot demo');

INSERT INTO "ApiKeySet" VALUES (
  'internal',
  '00000000000000000000000000000000000000000000000000000000000000ff',
  '00000000000000000000000000000000000000000000000000000000000000ee',
  '00000000000000000000000000000000000000000000000000000000000000dd'
);

INSERT INTO "CronRun" VALUES (0, NULL);

