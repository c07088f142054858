/** Environment variables that are closed to profiles. */

/** Tokens are their user's and hotboot's own, and the address of a proxy can have a password in it. */
const NOT_READ = /TOKEN$|_PROXY$/i;

/**
 * With these a program runs other code than it would: of the loader, of shells, of languages, of programs that start others,
 * and of all that look for their settings below a directory.
 */
const NOT_SET = new RegExp(
  "^(?:" + [
    "LD_.*|DYLD_.*|GCONV_PATH|GLIBC_TUNABLES|PATH",
    "ENV|BASH_.*|BASHOPTS|SHELLOPTS|IFS|PS4|PROMPT_COMMAND|ZDOTDIR",
    "NODE_OPTIONS|NODE_PATH|NPM_CONFIG_.*|BUN_OPTIONS|PYTHON.*|PERL.*|RUBY.*|CLASSPATH|JAVA_TOOL_OPTIONS|(?:JDK)?_JAVA_OPTIONS",
    "LUA_.*|PHPRC|PHP_INI_SCAN_DIR|DOTNET_STARTUP_HOOKS",
    "GIT_.*|SSH_ASKPASS|EDITOR|VISUAL|PAGER|BROWSER|SHELL|LESSOPEN|LESSCLOSE",
    "HOME|XDG_.*",
  ].join("|") + ")$",
  "i",
);

/** Whether no profile may read the variable. */
export function isNotRead(name: string): boolean {
  return NOT_READ.test(name);
}

/** Whether no profile may set the variable for programs. */
export function isNotSet(name: string): boolean {
  return NOT_SET.test(name);
}
