/**
 * Finds out why there is no connection to a server, which fetch does not say: the way there is taken again, step by step.
 *
 * Source: RFC 9110, 9.3.6 (CONNECT).
 */

import { connect, type Socket } from "node:net";
import { connect as connectTls, type PeerCertificate } from "node:tls";
import { HotbootError, messageOf } from "../base/error.ts";
import { within } from "../base/wait.ts";
import { type Network, peerOf, type Proxy, proxyFor } from "./network.ts";
import { ProxyError, TransientError } from "./transient.ts";

/** How long a step may take. */
const LIMIT_MS = 5000;

/**
 * Why a request got no answer: a {@linkcode TransientError} if that may change by itself.
 *
 * @param url Its address.
 * @param reason What fetch said.
 */
export async function diagnose(url: string, reason: string, network: Network): Promise<HotbootError> {
  if (/CA file|pem file/i.test(reason)) {
    return new HotbootError(`Deno cannot use the certificates of DENO_CERT (${reason}): correct or unset it`);
  }
  const target = new URL(url);
  if (/platform certificates/i.test(reason)) { // Deno 2.6; later ones go on without
    const whose = network.faults.join("; ") || "those of this system";
    return new HotbootError(
      `${target.host} cannot be reached, because certificates cannot be loaded (${reason}): ${whose}; ` +
        "correct that, or set DENO_TLS_CA_STORE=mozilla",
    );
  }
  const proxy = proxyFor(url, network.variables);
  const fault = reason.match(/invalid peer certificate: (.+)/)?.[1];
  if (fault) return await explainCertificate(target, fault, network, proxy);
  if (!proxy) return new TransientError(`${target.host} cannot be reached (${reason})`);
  return await explainProxy(target, reason, proxy);
}

async function explainCertificate(
  target: URL,
  fault: string,
  { faults }: Network,
  proxy?: Proxy,
): Promise<HotbootError> {
  const issuer = await issuerOf(target, proxy).catch(() => undefined);
  const who = `${target.host}${proxy ? `, through the proxy ${describe(proxy)},` : ""}`;
  const certificate = `a certificate from ${issuer ? `'${issuer}'` : "an unknown authority"}`;
  if (!/UnknownIssuer|CaUsedAsEndEntity/.test(fault)) {
    return new HotbootError(
      `${who} has ${certificate} that is not valid (${fault}): check this machine's clock, or ask who runs the server`,
    );
  }
  return new HotbootError(
    `${who} has ${certificate}, which is not trusted: if it is your company's, set NODE_EXTRA_CA_CERTS to the path of its ` +
      `certificate (PEM)${faults.map((text) => `; ${text}`).join("")}`,
  );
}

async function explainProxy(target: URL, reason: string, proxy: Proxy): Promise<HotbootError> {
  const around = `add ${target.hostname} to NO_PROXY`;
  if (proxy.url.protocol !== "http:" || target.protocol !== "https:") {
    return new ProxyError(
      `${target.host} cannot be reached through the proxy ${
        describe(proxy)
      } (${reason}): start or correct it, or ${around}`,
    );
  }
  try {
    const { status, schemes } = await tunnel(target, proxy, (socket, answer) => (socket.destroy(), answer));
    if (status < 300) return new TransientError(`${target.host} cannot be reached (${reason})`); // now it can
    // Squid answers 407; tinyproxy answers a wrong password with 401.
    const advice = status === 407 || status === 401 ? passwordAdvice(proxy, schemes) : `ask who runs it, or ${around}`;
    const message = `the proxy ${
      describe(proxy)
    } answered ${status} instead of connecting to ${target.host}: ${advice}`;
    return status >= 500 ? new TransientError(message) : new HotbootError(message);
  } catch (error) {
    return new ProxyError(
      `the proxy ${describe(proxy)} cannot be reached (${
        messageOf(error)
      }): start it, correct ${proxy.variable}, or ${around}`,
    );
  }
}

function passwordAdvice({ url, variable }: Proxy, schemes: string[]): string {
  if (schemes.length > 0 && !schemes.some((scheme) => /^basic$/i.test(scheme))) {
    return `it wants ${
      schemes.join(" or ")
    }, and hotboot can only give a password: start a proxy on this machine that can ` +
      `do that, such as cntlm or px, and name that one in ${variable}`;
  }
  if (url.username) return `correct the user and the password in ${variable}`;
  return `put the password into ${variable}, as http://USER:PASSWORD@${url.host}`;
}

function describe({ url, variable }: Proxy): string {
  return `${url.host} (${variable})`;
}

/** The name of who issued the server's certificate. */
async function issuerOf(url: URL, proxy?: Proxy): Promise<string | undefined> {
  // Nothing is sent on this connection: it only shows the certificate.
  const options = { servername: url.hostname, rejectUnauthorized: false };
  const secure = proxy
    ? await tunnel(url, proxy, (socket) => connectTls({ ...options, socket }))
    : connectTls({ ...options, ...addressOf(url) });
  try {
    await event(secure, "secureConnect");
    const { issuer } = secure.getPeerCertificate() as PeerCertificate;
    return issuer?.CN ?? issuer?.O;
  } finally {
    secure.destroy();
  }
}

/** A proxy's answer. */
interface TunnelAnswer {
  /** 200 if there is a connection. */
  status: number;
  /** How it lets itself be convinced of who asks: RFC 9110, 11.7.1. */
  schemes: string[];
}

/**
 * Asks an http proxy for a connection to the host of `url`, and gives what `use` makes of the answer. `use` is called before
 * anything else can read from it.
 */
async function tunnel<T>(
  url: URL,
  { url: proxy }: Proxy,
  use: (socket: Socket, answer: TunnelAnswer) => T,
): Promise<T> {
  const target = peerOf(url);
  const user = `${decodeURIComponent(proxy.username)}:${decodeURIComponent(proxy.password)}`;
  const authorization = proxy.username ? `Proxy-Authorization: Basic ${btoa(user)}\r\n` : "";
  const socket = connect(addressOf(proxy));
  socket.once("connect", () => {
    socket.write(`CONNECT ${target} HTTP/1.1\r\nHost: ${target}\r\n${authorization}\r\n`);
  });
  try {
    return await event(socket, "data", (bytes: Uint8Array) => {
      const text = new TextDecoder().decode(bytes);
      const status = text.match(/^HTTP\/1\.\d (\d{3})/)?.[1];
      if (status === undefined) throw new Error("it does not speak HTTP");
      const schemes = [...text.matchAll(/^proxy-authenticate: *([\w-]+)/gim)].map(([, scheme]) => scheme);
      return use(socket, { status: Number(status), schemes });
    });
  } catch (error) {
    socket.destroy();
    throw error;
  }
}

function addressOf(url: URL): { host: string; port: number } {
  const peer = peerOf(url);
  const colon = peer.lastIndexOf(":");
  return { host: peer.slice(0, colon).replaceAll(/[[\]]/g, ""), port: Number(peer.slice(colon + 1)) };
}

/** What `use` makes of a socket's next event, as it happens. */
async function event<A extends unknown[], T>(
  socket: Socket,
  name: string,
  use: (...args: A) => T = () => undefined as T,
): Promise<T> {
  const { promise, resolve, reject } = Promise.withResolvers<T>();
  const fail = (error?: unknown) => reject(error instanceof Error ? error : new Error("it closed the connection"));
  socket.on("error", fail).once("close", fail).once(name, (...args: A) => {
    try {
      resolve(use(...args));
    } catch (error) {
      reject(error);
    }
  });
  return await within(promise, "it", { timeoutMs: LIMIT_MS });
}
