// SPDX-License-Identifier: Apache-2.0
//
// All that the guard decides about a handshake, apart from the pins: facts in, a ruling out. It knows no
// OpenSSL and no Python. pinverify/engine/rules.py is its twin, and a test compares the two on every
// combination of facts.

#ifndef PV_RULES_H
#define PV_RULES_H

#include "pv_decide.h"

// What the guard does next. Zero refuses, so that a ruling that nobody wrote lets nobody in.
enum pv_action {
  PV_REFUSE = 0,
  PV_PASS = 1,    // nothing is decided here: the handshake goes on
  PV_JUDGE = 2,   // the policy decides
  PV_WAIVE = 3,   // the policy decides; if it accepts, OpenSSL's error counts for nothing
  PV_ACCEPT = 4,  // the peer is accepted
};

struct pv_ruling {
  enum pv_action action;
  enum pv_reason reason;  // of a refusal, or of an acceptance
};

// pv_facts are what is known of a handshake when an OpenSSL callback runs. A fact that was left out is
// zero, and never makes a ruling laxer.
struct pv_facts {
  int is_server;            // the guard is a server's
  int pins_only;            // it goes by the leaf's key alone
  int sole_host;            // the connection wants the one host that the policy of its context lets in
  int guarded;              // the connection was made from a pinned context
  int announced;            // the message callback has left word of the message that this callback is about
  int proven;               // the peer of this handshake was judged and accepted
  int resumed;              // a session is resumed
  int moved;                // a program has moved the connection to another context than the guard's
  int has_certificate;      // the peer has shown a certificate
  int ok;                   // OpenSSL's result for the certificate at hand
  int depth;                // its place in the chain
  int x509_error;           // OpenSSL's error, if |ok| is not 1
  enum pv_reason obstacle;  // why there is no reference name; PV_PINNED if there is, or none is needed
};

// pv_rule_hello: the peer's hello has come in. JUDGE means to judge the session that is resumed.
PV_MUST_USE struct pv_ruling pv_rule_hello(struct pv_facts facts);

// pv_rule_resumed: |proof| is what the policy says of the leaf that the session keeps, at a time when no
// entry has expired; |standing| what it says now of a chain without certificates, so that PV_CHAIN_LENGTH
// means that only the chain was left to ask for.
PV_MUST_USE struct pv_ruling pv_rule_resumed(struct pv_facts facts, struct pv_verdict proof,
                                             struct pv_verdict standing);

// pv_rule_own_certificate: OpenSSL is about to choose a certificate of ours, on a server for the hello that
// has come in, on a client because the server has asked for one.
PV_MUST_USE struct pv_ruling pv_rule_own_certificate(struct pv_facts facts);

// pv_rule_certificate: OpenSSL has looked at a certificate of the peer's chain.
PV_MUST_USE struct pv_ruling pv_rule_certificate(struct pv_facts facts);

// pv_rule_judged: the policy has given |verdict| on the chain.
PV_MUST_USE struct pv_ruling pv_rule_judged(struct pv_facts facts, struct pv_verdict verdict);

// pv_rule_keys: OpenSSL has made keys of the handshake.
PV_MUST_USE struct pv_ruling pv_rule_keys(struct pv_facts facts);

// pv_rule_finished: the peer's Finished has come in.
PV_MUST_USE struct pv_ruling pv_rule_finished(struct pv_facts facts);

// pv_rule_done: OpenSSL takes the handshake for complete.
PV_MUST_USE struct pv_ruling pv_rule_done(struct pv_facts facts);

// pv_rule_keeps_session says whether the session of a peer that |verdict| accepted may be resumed: whether
// its leaf, which is all that a session keeps, will be proof of that.
PV_MUST_USE int pv_rule_keeps_session(struct pv_facts facts, struct pv_verdict verdict);

#endif  // PV_RULES_H
