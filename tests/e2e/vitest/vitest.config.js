export default { test: { pool: "forks", testTimeout: 120_000, hookTimeout: 120_000 } };
