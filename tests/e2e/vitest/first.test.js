import { suite } from "./suite.js";

suite("first");
