// SPDX-License-Identifier: Apache-2.0
//
// The guard stands between OpenSSL's handshake and the policy. It consists of three callbacks of OpenSSL's,
// which run in the thread of the handshake, without the GIL.
//
// The message callback, called for each handshake message: it puts the verify callback, and on a client the
// SSL_CTX, back on the connection, so that nobody can displace them; when the peer's hello or certificates
// have come in, it reads the reference name; and when its Finished has come in, it looks whether all that
// took effect. Another callback follows in the same thread, and decides: after the certificates the verify
// callback, and after the hello, for a session that is resumed, the one for server names.
//
// None can be talked into accepting by a failure: whatever is missing, the connection is refused. The message
// callback has no result to say so with, and where it is in Python it may be lost for want of memory. So what
// decides has one, and refuses if it finds nothing left for it.

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
  void *store_ctx;  // NULL at a hello or at Finished: no verification is going on then
};

// pv_guard is immutable once its context makes connections, but for the counters and the references.
// Everything that it points to outlives it.
struct pv_guard {
  const struct pv_policy *policy;
  struct pv_references *references;
  SSL_CTX *context;
  int is_server;
  int pins_only;        // decide by the leaf's key alone, in place of a trust anchor
  struct pv_host host;  // the reference name of connections that name none; empty if there is none
  int (*server_name)(SSL *, int *, void *);  // the program's own, which follows the guard's; NULL if none
  void *owner;                               // handed to |tell|
  // tell takes the GIL. It returns 1 if it could do all that was to be done.
  int (*tell)(void *owner, const struct pv_report *report);
  atomic_uint_least64_t counts[2][PV_REASON_COUNT];  // [accepted][reason]
};

// pv_guard_new makes a guard over |policy| for |context|. |host| may be NULL. It returns NULL if memory ran
// out.
PV_MUST_USE struct pv_guard *pv_guard_new(const struct pv_policy *policy, void *context, int is_server,
                                          int pins_only, const struct pv_host *host, void *owner,
                                          int (*tell)(void *, const struct pv_report *));

// pv_guard_free must not be called before the last connection of the context is gone.
void pv_guard_free(struct pv_guard *guard);

// pv_guard_install hangs the three callbacks into the context. Every connection that is made from it
// afterwards is guarded.
void pv_guard_install(struct pv_guard *guard);

// pv_guard_set_server_name puts the callback for server names back into the context, and lets |function|,
// which a program gave to SSL_CTX_set_tlsext_servername_callback, follow it.
void pv_guard_set_server_name(struct pv_guard *guard, void *function);

// pv_guard_reference gives the host that the connection |ssl| of this guard wants. It returns 1, or 0 if
// there is none (as on every server) and then leaves |*out_host| empty.
PV_MUST_USE int pv_guard_reference(struct pv_guard *guard, void *ssl, struct pv_host *out_host);

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
