CREATE ROLE emulator LOGIN;

CREATE ROLE root SUPERUSER LOGIN;

CREATE TABLE "Project" (
  "id" text PRIMARY KEY,
  "displayName" text NOT NULL,
  "configFile" text UNIQUE
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

GRANT SELECT, INSERT ON "Project", "ApiKeySet" TO emulator;

GRANT SELECT, INSERT ON "Note" TO emulator;

GRANT USAGE ON SEQUENCE "Note_id_seq" TO emulator;

GRANT SELECT, UPDATE ON "CronRun" TO emulator;

INSERT INTO "Project" VALUES ('internal', 'hotboot');

INSERT INTO "ApiKeySet" VALUES (
  'internal',
  '00000000000000000000000000000000ffffffffffffffffffffffffffffffff',
  '00000000000000000000000000000000eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee',
  '00000000000000000000000000000000dddddddddddddddddddddddddddddddd'
);

INSERT INTO "CronRun" VALUES (0, NULL);

