// SPDX-License-Identifier: Apache-2.0
//
// Runs one operation of the C core again and again, with no Python around it:
//
//   driver COUNT walk | sha256 LENGTH | equal | pinset PINS | host exact|wildcard HOSTS
//   driver COUNT decide CHAIN DEPTH PINS HOSTS
//
// Certificates come in on stdin, leaf first, each as its length in four octets (big endian) and its DER. The
// seconds that the loop took go to stdout. Under callgrind, the difference between two counts is what the
// operation itself needs.
//
// DRIVER_SHA256 in the environment names the code of SHA-256 to use, in place of the fastest.
//
// `decide` judges the first CHAIN certificates by a policy of HOSTS names and PINS pins. The certificate at
// DEPTH is the one whose key is pinned.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "pv_ct.h"
#include "pv_decide.h"
#include "pv_policy.h"
#include "pv_sha256.h"

#define MAX_CERT 65539u
#define MANY 1024u
#define NAME_ROOM 40u
#define NOW 1800000000
#define SEED 0x9e3779b97f4a7c15u

static pv_slice chain[PV_MAX_CHAIN];
static size_t chain_len;

// What is computed goes here, so that no loop can be optimised away.
static volatile unsigned sink;

static void die(const char *why) {
  fprintf(stderr, "driver: %s\n", why);
  exit(2);
}

static void must(int done) {
  if (done != 1) die("out of memory, or a bad argument");
}

static void read_chain(void) {
  uint8_t head[4];
  while (chain_len < PV_MAX_CHAIN && fread(head, 1, 4, stdin) == 4) {
    size_t len = (size_t)head[0] << 24 | (size_t)head[1] << 16 | (size_t)head[2] << 8 | head[3];
    uint8_t *der = len <= MAX_CERT ? malloc(len) : NULL;
    if (der == NULL || fread(der, 1, len, stdin) != len) die("the certificates on stdin are cut short");
    chain[chain_len++] = pv_slice_of(der, len);
  }
}

static double seconds(void) {
  struct timespec now;
  if (clock_gettime(CLOCK_MONOTONIC, &now) != 0) die("no clock");
  return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static size_t number(const char *text) {
  char *end;
  unsigned long value = strtoul(text, &end, 10);
  if (*text == 0 || *end != 0) die("a number was expected");
  return value;
}

static void key_digest(pv_slice cert, uint8_t out_digest[32]) {
  pv_slice spki;
  if (pv_cert_spki(cert, &spki) != PV_OK) die("not a certificate");
  pv_sha256(spki.data, spki.len, out_digest);
}

// digests_of makes |count| digests, each the hash of its number; |known| of them, spread over all, are copied
// from |digests|.
static uint8_t *digests_of(size_t count, size_t known, const uint8_t *digests) {
  uint8_t *all = malloc(32 * count);
  if (all == NULL) die("out of memory");
  for (size_t i = 0; i < count; i++) pv_sha256((const uint8_t *)&i, sizeof i, all + 32 * i);
  for (size_t i = 0; i < known; i++) memcpy(all + 32 * (i * (count / known)), digests + 32 * i, 32);
  return all;
}

static void name_host(char out_name[NAME_ROOM], const char *prefix, size_t i) {
  (void)snprintf(out_name, NAME_ROOM, "%sh%zu.example.com", prefix, i);
}

// policy_of makes a policy of |hosts| names, h0.example.com and so on; all lead to one entry that allows the
// |pins| digests at |digests|.
static struct pv_policy *policy_of(size_t hosts, int match, size_t pins, const uint8_t *digests) {
  struct pv_policy *policy = pv_policy_new(1, (uint32_t)hosts, NAME_ROOM * hosts, PV_UNLISTED_DENY);
  if (policy == NULL) die("out of memory");
  must(pv_policy_set_pins(policy, 0, PV_ROLE_ALLOW, PV_KIND_SPKI, digests, pins, SEED));
  for (size_t i = 0; i < hosts; i++) {
    char name[NAME_ROOM];
    name_host(name, "", i);
    must(pv_policy_add_pattern(policy, match, name, strlen(name), 0));
  }
  return policy;
}

static double run_walk(size_t count) {
  pv_slice spki = {NULL, 0};
  double began = seconds();
  for (size_t i = 0; i < count; i++) sink = (unsigned)pv_cert_spki(chain[0], &spki);
  return seconds() - began;
}

static double run_sha256(size_t count, size_t len) {
  uint8_t digest[32], *data = calloc(1, len + 1);
  if (data == NULL) die("out of memory");
  double began = seconds();
  for (size_t i = 0; i < count; i++) {
    pv_sha256(data, len, digest);
    sink = digest[0];
  }
  double took = seconds() - began;
  free(data);
  return took;
}

static double run_equal(size_t count) {
  uint8_t a[32] = {1}, b[32] = {1};
  double began = seconds();
  for (size_t i = 0; i < count; i++) {
    b[i & 31] ^= 1;  // else it would be computed once
    sink = pv_ct_equal32(a, b);
  }
  return seconds() - began;
}

// Of many pins or hosts, another one is asked for each time. `decide` and `host` ask for up to a thousand in
// turn, which stay in the second-level cache; `pinset` for so many that the set comes from further away.
static size_t fewer(size_t all, size_t most) { return all < most ? all : most; }

static double run_pinset(size_t count, size_t pins) {
  size_t asked = fewer(pins, 64 * MANY);
  uint8_t *ask = calloc(asked, 32);
  if (ask == NULL) die("out of memory");
  for (size_t i = 0; i < asked; i++) pv_sha256((const uint8_t *)&i, 4, ask + 32 * i);
  uint8_t *digests = digests_of(pins, asked, ask);
  struct pv_pinset set;
  must(pv_pinset_build(digests, pins, SEED, &set));
  double began = seconds();
  for (size_t i = 0; i < count; i++) sink = (unsigned)pv_pinset_contains(&set, ask + 32 * (i % asked));
  double took = seconds() - began;
  if (sink != 1) die("a wrong answer");
  pv_pinset_free(&set);
  free(digests);
  free(ask);
  return took;
}

static double run_host(size_t count, const char *kind, size_t hosts) {
  int wildcard = strcmp(kind, "wildcard") == 0;
  size_t asked = fewer(hosts, MANY);
  uint8_t digest[32] = {1};
  struct pv_policy *policy = policy_of(hosts, wildcard ? PV_MATCH_ONE_LABEL : PV_MATCH_EXACT, 1, digest);
  char(*names)[NAME_ROOM] = calloc(asked, sizeof *names);
  if (names == NULL) die("out of memory");
  for (size_t i = 0; i < asked; i++) name_host(names[i], wildcard ? "www." : "", i * (hosts / asked));
  double began = seconds();
  for (size_t i = 0; i < count; i++) {
    const char *name = names[i % asked];
    sink = (unsigned)pv_policy_find(policy, pv_slice_of(name, strlen(name)));
  }
  double took = seconds() - began;
  if (sink != 0) die("a wrong answer");
  free(names);
  pv_policy_free(policy);
  return took;
}

// rekey copies |cert| with the last octets of its key replaced by |number|.
static pv_slice rekey(pv_slice cert, size_t number) {
  uint8_t *der = malloc(cert.len);
  pv_slice spki;
  if (der == NULL) die("out of memory");
  memcpy(der, cert.data, cert.len);
  pv_slice copy = pv_slice_of(der, cert.len);
  if (pv_cert_spki(copy, &spki) != PV_OK) die("not a certificate");
  size_t end = (size_t)(spki.data - der) + spki.len;
  der[end - 1] = (uint8_t)number;
  der[end - 2] = (uint8_t)(number >> 8);
  return copy;
}

static double run_decide(size_t count, size_t len, size_t depth, size_t pins, size_t hosts) {
  if (len > chain_len || depth >= len) die("the chain is shorter than that");
  size_t peers = fewer(pins, MANY), named = fewer(hosts, MANY);
  pv_slice pinned[MANY];
  uint8_t *known = calloc(peers, 32);
  char(*names)[NAME_ROOM] = calloc(named, sizeof *names);
  if (known == NULL || names == NULL) die("out of memory");
  for (size_t i = 0; i < peers; i++) {
    pinned[i] = rekey(chain[depth], i);
    key_digest(pinned[i], known + 32 * i);
  }
  for (size_t i = 0; i < named; i++) name_host(names[i], "", i * (hosts / named));
  uint8_t *digests = digests_of(pins, peers, known);
  struct pv_policy *policy = policy_of(hosts, PV_MATCH_EXACT, pins, digests);
  pv_slice own = chain[depth];
  double began = seconds();
  for (size_t i = 0; i < count; i++) {
    const char *name = names[i % named];
    chain[depth] = pinned[i % peers];
    struct pv_verdict verdict = pv_decide(policy, pv_slice_of(name, strlen(name)), NOW, chain, len);
    if (verdict.reason != PV_PINNED || verdict.depth != (int32_t)depth) die("a wrong decision");
  }
  double took = seconds() - began;
  chain[depth] = own;
  for (size_t i = 0; i < peers; i++) free((void *)(uintptr_t)pinned[i].data);
  free(known);
  free(names);
  free(digests);
  pv_policy_free(policy);
  return took;
}

int main(int argc, char **argv) {
  if (argc < 3) die("usage: driver COUNT CASE [ARGUMENTS] <certificates");
  size_t count = number(argv[1]);
  const char *name = argv[2];
  double took;
  pv_sha256_init();
  const char *backend = getenv("DRIVER_SHA256");
  if (backend != NULL) must(pv_sha256_use(backend));
  read_chain();
  if (strcmp(name, "walk") == 0 && argc == 3 && chain_len > 0) {
    took = run_walk(count);
  } else if (strcmp(name, "sha256") == 0 && argc == 4) {
    took = run_sha256(count, number(argv[3]));
  } else if (strcmp(name, "equal") == 0 && argc == 3) {
    took = run_equal(count);
  } else if (strcmp(name, "pinset") == 0 && argc == 4) {
    took = run_pinset(count, number(argv[3]));
  } else if (strcmp(name, "host") == 0 && argc == 5) {
    took = run_host(count, argv[3], number(argv[4]));
  } else if (strcmp(name, "decide") == 0 && argc == 7) {
    took = run_decide(count, number(argv[3]), number(argv[4]), number(argv[5]), number(argv[6]));
  } else {
    die("no such case");
  }
  printf("%.9f\n", took);
  for (size_t i = 0; i < chain_len; i++) free((void *)(uintptr_t)chain[i].data);
  return 0;
}
