// SPDX-License-Identifier: GPL-3.0-or-later
//
// For a program that knows only names: node --require resolve.cjs, and JUDGE_HOSTS="guestbook.test=10.89.0.5" in the
// environment (several with commas). It finds these names at these addresses, and all others where everybody does.
"use strict";

const dns = require("node:dns");
const net = require("node:net");
const { syncBuiltinESMExports } = require("node:module");

const hosts = new Map((process.env.JUDGE_HOSTS || "").split(",").map((pair) => pair.split("=")));
const lookup = dns.lookup;

dns.lookup = (name, options, callback = options) => {
  const address = hosts.get(name);
  if (!address) {
    lookup(name, options, callback);
    return;
  }
  const family = net.isIP(address);
  process.nextTick(() => (options.all ? callback(null, [{ address, family }]) : callback(null, address, family)));
};
syncBuiltinESMExports();
