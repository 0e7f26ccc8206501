// SPDX-License-Identifier: Apache-2.0

#include "pv_guard.h"

#include <stdlib.h>
#include <string.h>

#include "pv_chain.h"

enum { NAMETYPE_HOST = 0 };  // TLSEXT_NAMETYPE_host_name; engine/openssl.py compares it with the binding's

static int (*tell)(void *, const struct pv_report *);

void pv_guard_set_tell(int (*function)(void *, const struct pv_report *)) { tell = function; }

struct pv_guard *pv_guard_new(const struct pv_policy *policy, void *context, int is_server, int pins_only,
                              const struct pv_host *host, void *owner) {
  struct pv_guard *guard = calloc(1, sizeof *guard);
  if (guard == NULL) return NULL;
  guard->references = pv_references_new();
  if (guard->references == NULL) {
    free(guard);
    return NULL;
  }
  guard->policy = policy;
  guard->context = context;
  guard->is_server = is_server;
  guard->pins_only = pins_only;
  if (host != NULL) guard->host = *host;
  guard->owner = owner;
  return guard;
}

void pv_guard_free(struct pv_guard *guard) {
  if (guard == NULL) return;
  pv_references_free(guard->references);
  free(guard);
}

enum pv_reason pv_guard_reference(struct pv_guard *guard, void *ssl, struct pv_host *out_host) {
  memset(out_host, 0, sizeof *out_host);
  if (guard->is_server) return PV_PINNED;
  const char *sni = pv_openssl.SSL_get_servername(ssl, NAMETYPE_HOST);
  if (sni != NULL) {
    return pv_host_from_sni(pv_slice_of(sni, strlen(sni)), out_host) ? PV_PINNED : PV_BAD_REFERENCE;
  }
  if (pv_references_find(guard->references, ssl, out_host)) return PV_PINNED;
  if (guard->host.len == 0) return PV_NO_REFERENCE;
  *out_host = guard->host;
  return PV_PINNED;
}

int pv_guard_conclude(struct pv_guard *guard, const struct pv_report *report) {
  const struct pv_verdict *verdict = &report->verdict;
  int accepted = verdict->accepted;
  if (!accepted || verdict->reason < PV_PINNED) {
    accepted = (tell(guard == NULL ? NULL : guard->owner, report) == 1) && accepted;
  }
  if (guard != NULL) {
    atomic_fetch_add_explicit(&guard->counts[accepted][verdict->reason], 1, memory_order_relaxed);
  }
  return accepted;
}

int pv_guard_judge(struct pv_guard *guard, void *ssl, int64_t now, struct pv_judgement *out) {
  pv_slice chain[PV_MAX_CHAIN];
  if (pv_guard_reference(guard, ssl, &out->host) != PV_PINNED) memset(&out->host, 0, sizeof out->host);
  out->count = pv_chain_verified(ssl, out->der, sizeof out->der, out->ends);
  if (out->count < 0) return 0;
  if (guard->pins_only && out->count > 1) out->count = 1;
  size_t start = 0;
  for (int i = 0; i < out->count; i++) {
    chain[i] = pv_slice_of(out->der + start, out->ends[i] - start);
    start = out->ends[i];
  }
  pv_slice host = pv_slice_of(out->host.text, out->host.len);
  out->verdict = pv_decide(guard->policy, host, now, chain, (size_t)out->count);
  return 1;
}

uint64_t pv_guard_count(struct pv_guard *guard, int accepted, int reason) {
  if (accepted < 0 || accepted > 1 || reason < 0 || reason >= PV_REASON_COUNT) return 0;
  return atomic_load_explicit(&guard->counts[accepted][reason], memory_order_relaxed);
}
