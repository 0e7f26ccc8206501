// SPDX-License-Identifier: Apache-2.0
//
// The whole C surface that Python may see, in cffi's dialect. engine/native.py is the only module that uses
// it.

// The pure core.
typedef struct {
  const uint8_t *data;
  size_t len;
} pv_slice;

int pv_cert_spki(pv_slice cert, pv_slice *out_spki);  // enum pv_status

void pv_sha256_init(void);
const char *pv_sha256_backend(void);
void pv_sha256(const uint8_t *data, size_t len, uint8_t *out_digest);

struct pv_policy *pv_policy_new(uint32_t entry_count, uint32_t pattern_count, size_t names_len,
                                int32_t unlisted);
void pv_policy_free(struct pv_policy *policy);
int pv_policy_set_entry(struct pv_policy *policy, uint32_t index, int64_t expires, int pkix_when_expired,
                        int report_only);
int pv_policy_set_pins(struct pv_policy *policy, uint32_t index, int role, int kind, const uint8_t *digests,
                       size_t count, uint64_t seed);
int pv_policy_add_pattern(struct pv_policy *policy, int match, const char *name, size_t len, uint32_t index);

struct pv_verdict {
  int reason;  // enum pv_reason
  int accepted;
  int32_t entry;
  int32_t depth;
  int status;  // enum pv_status
  ...;
};
struct pv_verdict pv_decide(const struct pv_policy *policy, pv_slice host, int64_t now, const pv_slice *chain,
                            size_t count);

// The rules, for their comparison with those in Python.
struct pv_facts {
  int is_server, pins_only, sole_host, guarded, announced, proven, resumed, moved, has_certificate, ok, depth,
      x509_error;
  int obstacle;  // enum pv_reason
  ...;
};
struct pv_ruling {
  int action;  // enum pv_action
  int reason;  // enum pv_reason
  ...;
};
struct pv_ruling pv_rule_hello(struct pv_facts facts);
struct pv_ruling pv_rule_resumed(struct pv_facts facts, struct pv_verdict proof, struct pv_verdict standing);
struct pv_ruling pv_rule_own_certificate(struct pv_facts facts);
struct pv_ruling pv_rule_certificate(struct pv_facts facts);
struct pv_ruling pv_rule_judged(struct pv_facts facts, struct pv_verdict verdict);
struct pv_ruling pv_rule_finished(struct pv_facts facts);
struct pv_ruling pv_rule_keys(struct pv_facts facts);
struct pv_ruling pv_rule_done(struct pv_facts facts);
int pv_rule_keeps_session(struct pv_facts facts, struct pv_verdict verdict);

// The guard.
const char *pv_openssl_name(size_t index);
const char *pv_openssl_prototype(size_t index);
int pv_openssl_set(size_t index, void *function);

struct pv_host {
  char text[254];
  uint8_t len;
  uint8_t ip_len;
  uint8_t ip[16];
};
int pv_host_from_sni(pv_slice name, struct pv_host *out_host);

struct pv_reference {
  const void *connection;
  struct pv_host host;
  ...;
};
void pv_references_add(struct pv_references *table, struct pv_reference *reference);
void pv_references_remove(struct pv_references *table, const struct pv_reference *reference);

struct pv_report {
  struct pv_verdict verdict;
  const char *host;
  int x509_error;
  int x509_depth;
  void *ssl;
  void *store_ctx;
  ...;
};
struct pv_guard {
  struct pv_references *references;
  ...;
};
void pv_guard_set_tell(int (*tell)(void *, const struct pv_report *));
struct pv_guard *pv_guard_new(const struct pv_policy *policy, void *context, int is_server, int pins_only,
                              const struct pv_host *host, void *owner);
void pv_guard_free(struct pv_guard *guard);
int pv_guard_reference(struct pv_guard *guard, void *ssl, struct pv_host *out_host);  // enum pv_reason
void pv_handshake_install(struct pv_guard *guard);
void pv_handshake_set_server_name(struct pv_guard *guard, void *function);
void pv_handshake_inform(void *ssl, int where);
void pv_handshake_keys(void *ssl);
struct pv_judgement {
  struct pv_host host;
  struct pv_verdict verdict;
  int count;
  size_t ends[32];
  uint8_t der[...];
};
int pv_guard_judge(struct pv_guard *guard, void *ssl, int64_t now, struct pv_judgement *out);
uint64_t pv_guard_count(struct pv_guard *guard, int accepted, int reason);

extern "Python" int pv_tell(void *owner, const struct pv_report *report);
