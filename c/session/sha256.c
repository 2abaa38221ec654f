/* SPDX-License-Identifier: Apache-2.0 */
/* SHA-256 (FIPS 180-4), for the names of samples. */
#include "calibrator.h"

static const uint32_t ROUND[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

typedef struct digest {
    uint32_t state[8], block[16]; /* block: the message's bytes as big-endian words, then the rolling schedule */
    uint64_t bytes;
} digest;

static uint32_t rotated(uint32_t x, int32_t bits) { return x >> bits | x << (32 - bits); }

static void compress(digest *d) {
    uint32_t v[8];
    for (int32_t i = 0; i < 8; i++) v[i] = d->state[i];
    for (int32_t i = 0; i < 64; i++) {
        uint32_t *w = &d->block[i & 15];
        if (i >= 16) {
            const uint32_t a = d->block[(i + 1) & 15], b = d->block[(i + 14) & 15];
            *w += (rotated(a, 7) ^ rotated(a, 18) ^ a >> 3) + d->block[(i + 9) & 15] +
                  (rotated(b, 17) ^ rotated(b, 19) ^ b >> 10);
        }
        const uint32_t mixed = v[7] + (rotated(v[4], 6) ^ rotated(v[4], 11) ^ rotated(v[4], 25)) +
                               ((v[4] & v[5]) ^ (~v[4] & v[6])) + ROUND[i] + *w;
        const uint32_t major = (rotated(v[0], 2) ^ rotated(v[0], 13) ^ rotated(v[0], 22)) +
                               ((v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]));
        for (int32_t k = 7; k > 0; k--) v[k] = v[k - 1];
        v[4] += mixed;
        v[0] = mixed + major;
    }
    for (int32_t i = 0; i < 8; i++) d->state[i] += v[i];
    for (int32_t i = 0; i < 16; i++) d->block[i] = 0;
}

static void put(digest *d, uint8_t byte) {
    d->block[d->bytes / 4 % 16] |= (uint32_t)byte << (24 - 8 * (d->bytes % 4));
    if (++d->bytes % 64 == 0) compress(d);
}

int64_t cal_identity(const int8_t *codes, int64_t count, uint16_t label) {
    digest d = {.state = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19}};
    for (int64_t i = 0; i < count; i++) put(&d, (uint8_t)codes[i]);
    for (int32_t i = 0; i < 8; i++) put(&d, (uint8_t)((uint64_t)label >> 8 * i));
    const uint64_t bits = 8 * d.bytes;
    put(&d, 0x80);
    while (d.bytes % 64 != 56) put(&d, 0);
    for (int32_t i = 7; i >= 0; i--) put(&d, (uint8_t)(bits >> 8 * i));
    uint64_t name = 0; /* the digest's first eight bytes, the first lowest */
    for (int32_t i = 0; i < 8; i++) name |= (uint64_t)(uint8_t)(d.state[i / 4] >> (24 - 8 * (i % 4))) << 8 * i;
    return name <= INT64_MAX ? (int64_t)name : -(int64_t)(~name) - 1;
}
