// SPDX-License-Identifier: Apache-2.0
//
// SHA-256 against the vectors of FIPS 180-4 (NIST, "SHA256.pdf" of the example values, and FIPS 180-2
// appendix B) and against Python's hashlib, with each backend that this machine can run.

#include "check.h"
#include "pv_sha256.h"

static const char *const backends[] = {"portable", "x86-sha", "armv8-sha2"};

static const struct {
  const char *message, *digest;
} vectors[] = {
    {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
    {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
    {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
     "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
    {"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrs"
     "tnopqrstu",
     "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1"},
};

// Digests of the first |len| bytes of the pattern i -> (131 i + 7) mod 256, made with
// hashlib.sha256(bytes((i * 131 + 7) & 255 for i in range(len))).hexdigest().
static const struct {
  size_t len;
  const char *digest;
} patterns[] = {
    {0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
    {1, "ca358758f6d27e6cf45272937977a748fd88391db679ceda7dc7bf1f005ee879"},
    {55, "16ed9c4697ca11d5f6fb25ea7900252dd4cb97215d7f6d0b2bb3e2a86ac0ec72"},
    {56, "939ada93b2fe1e9c596d767bb408567c83e253667f0b25e5be8e16f35f2cbac9"},
    {57, "ab84281f3b181e6cfc7cf870c7f3e7912be6fd1ac49c7dd6b21f6c25bb9a5eaa"},
    {63, "6073f83b09ae82016cdbe24c18996c48f0eaa08ca675d0f6b90b807fc29e0149"},
    {64, "b337ba9b0c69c391364e985fdcb23a889887e59800832c92fbfa22b8a3c40304"},
    {65, "9d6a3fb113b586b4ab97bc11c993a27bd9b7bbcb756e0646083dc47a679600e6"},
    {119, "9773fbac8194c3d789af101b49b6a26073076895ef6e0f658432849dd477a43f"},
    {120, "070a538f085dd94821d4dc197c5c8b791051891d4fa2a1bf25d3c275236676f7"},
    {121, "05a3caed94d5ee13402c4422abc9fa3ab0dbda743a8480a12cafefe5e5da992c"},
    {1000000, "67e64b24ed680f5c81535af5d4bb08ee3c47a8549e29556dbdb6ea442b97b0f9"},
};

#define MILLION 1000000

static uint8_t buffer[MILLION + 16];

static void fill_pattern(uint8_t *p, size_t len) {
  for (size_t i = 0; i < len; i++) p[i] = (uint8_t)(131 * i + 7);
}

static int digest_is(const uint8_t *data, size_t len, const char *expected) {
  uint8_t digest[PV_SHA256_SIZE];
  char text[2 * PV_SHA256_SIZE + 1];
  pv_sha256(data, len, digest);
  for (int i = 0; i < PV_SHA256_SIZE; i++) snprintf(text + 2 * i, 3, "%02x", digest[i]);
  return strcmp(text, expected) == 0;
}

static void test_vectors(void) {
  for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) {
    const char *message = vectors[i].message;
    CHECK(digest_is((const uint8_t *)message, strlen(message), vectors[i].digest));
    CHECK(digest_is(guarded(message, strlen(message)), strlen(message), vectors[i].digest));
  }
  CHECK(digest_is(NULL, 0, vectors[0].digest));
  memset(buffer, 'a', MILLION);
  CHECK(digest_is(buffer, MILLION, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"));
}

static void test_lengths(void) {
  for (size_t i = 0; i < sizeof patterns / sizeof patterns[0]; i++) {
    for (size_t offset = 0; offset < 16; offset++) {  // each alignment
      fill_pattern(buffer + offset, patterns[i].len);
      CHECK(digest_is(buffer + offset, patterns[i].len, patterns[i].digest));
    }
    CHECK(digest_is(guarded(buffer + 15, patterns[i].len), patterns[i].len, patterns[i].digest));
  }
}

// All backends give the portable one's digest for every length around several blocks.
static void test_agreement(const char *backend) {
  fill_pattern(buffer, 1025);
  for (size_t len = 0; len <= 1024; len++) {
    uint8_t expected[PV_SHA256_SIZE], digest[PV_SHA256_SIZE];
    CHECK(pv_sha256_use("portable"));
    pv_sha256(buffer + 1, len, expected);
    CHECK(pv_sha256_use(backend));
    pv_sha256(buffer + 1, len, digest);
    CHECK(memcmp(digest, expected, sizeof digest) == 0);
  }
}

int main(void) {
  CHECK(strcmp(pv_sha256_backend(), "portable") == 0);  // before anybody has chosen
  CHECK(!pv_sha256_use("none"));
  for (size_t i = 0; i < sizeof backends / sizeof backends[0]; i++) {
    if (!pv_sha256_use(backends[i])) {
      printf("not on this machine: %s\n", backends[i]);
      continue;
    }
    CHECK(strcmp(pv_sha256_backend(), backends[i]) == 0);
    test_vectors();
    test_lengths();
    test_agreement(backends[i]);
  }
  pv_sha256_init();
  printf("chosen: %s\n", pv_sha256_backend());
  test_vectors();
  return check_summary();
}
