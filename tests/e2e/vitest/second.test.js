import { suite } from "./suite.js";

suite("second");
