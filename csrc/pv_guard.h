// SPDX-License-Identifier: Apache-2.0
//
// The guard stands between OpenSSL's handshake and the policy: one for each pinned context. What it decides
// is in pv_rules and pv_decide, and the callbacks in which it does so are in pv_handshake.

#ifndef PV_GUARD_H
#define PV_GUARD_H

#include <stdatomic.h>

#include "pv_decide.h"
#include "pv_host.h"
#include "pv_openssl.h"
#include "pv_policy.h"
#include "pv_references.h"

// pv_report is what Python hears of a refusal, or of a violation that is only reported. All pointers are
// borrowed for the length of the call.
struct pv_report {
  struct pv_verdict verdict;
  const char *host;  // canonical, ends in a NUL; "" if there is none
  int x509_error;    // OpenSSL's, if the reason is PV_OPENSSL
  int x509_depth;
  void *ssl;
  void *store_ctx;  // NULL where no verification is going on
};

// pv_guard is immutable once its context makes connections, but for the counters and the references.
// Everything that it points to outlives it.
struct pv_guard {
  const struct pv_policy *policy;
  struct pv_references *references;
  SSL_CTX *context;
  int is_server;
  int pins_only;                             // decide by the leaf's key alone, in place of a trust anchor
  struct pv_host host;                       // the one host that the policy lets in; empty if there is none
  int (*server_name)(SSL *, int *, void *);  // the program's own, which the guard's calls; NULL if none
  void *owner;                               // handed to Python
  atomic_uint_least64_t counts[2][PV_REASON_COUNT];  // [accepted][reason]
};

// pv_guard_set_tell says who hears of refusals and violations. It is called at import, before there is a
// guard. |tell| takes the GIL. Its |owner| is the guard's, or NULL if the connection has none. It returns 1
// if it could do all that was to be done.
void pv_guard_set_tell(int (*tell)(void *owner, const struct pv_report *report));

// pv_guard_new makes a guard over |policy| for |context|. |host| may be NULL. It returns NULL if memory ran
// out.
PV_MUST_USE struct pv_guard *pv_guard_new(const struct pv_policy *policy, void *context, int is_server,
                                          int pins_only, const struct pv_host *host, void *owner);

// pv_guard_free must not be called before the last connection of the context is gone.
void pv_guard_free(struct pv_guard *guard);

// pv_guard_reference gives the host that the connection |ssl| of this guard wants: the name that it sends,
// else the one that it was made for, else the one of the context. It returns PV_PINNED, or why there is none.
// On a server, whose peers have keys and no names, it returns PV_PINNED and leaves |*out_host| empty.
PV_MUST_USE enum pv_reason pv_guard_reference(struct pv_guard *guard, void *ssl, struct pv_host *out_host);

// pv_guard_conclude counts a verdict, tells Python if it is a refusal or a violation, and returns 1 if the
// peer is accepted. A violation of which Python could not be told refuses: it is all that report mode is
// there for. |guard| is NULL for a connection without one.
PV_MUST_USE int pv_guard_conclude(struct pv_guard *guard, const struct pv_report *report);

enum { PV_JUDGEMENT_ROOM = 16 * 1024 };  // octets of a chain; three certificates have some four thousand

// pv_judgement is all that can be said of a connection after its handshake. Of its chain, |der| has the
// certificates one behind the other, leaf first, and |ends| where each of the |count| ends.
struct pv_judgement {
  struct pv_host host;  // empty if there is none, as on every server
  struct pv_verdict verdict;
  int count;
  size_t ends[PV_MAX_CHAIN];
  uint8_t der[PV_JUDGEMENT_ROOM];
};

// pv_guard_judge decides anew, at Unix time |now|, about the verified chain of |ssl|, a connection of this
// guard's whose handshake has succeeded. It returns 1; or 0 if OpenSSL could not give the chain or there is
// no room for it, and then what |*out| holds counts for nothing.
PV_MUST_USE int pv_guard_judge(struct pv_guard *guard, void *ssl, int64_t now, struct pv_judgement *out);

// pv_guard_count reads one counter.
PV_MUST_USE uint64_t pv_guard_count(struct pv_guard *guard, int accepted, int reason);

#endif  // PV_GUARD_H
