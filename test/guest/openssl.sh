# OpenSSL's digests, ciphers, MACs, key derivation and public keys on fixed inputs.
cd "$(mktemp -d)"
seq 1 4000 > long
head -c 1000 long > middle
printf 'abc' > short
: > empty

echo '-- digests'
for digest in md5 sha1 sha224 sha256 sha384 sha512 sha512-224 sha512-256 sha3-224 sha3-256 sha3-384 sha3-512 \
  shake128 shake256 blake2b512 blake2s256 ripemd160 sm3 md5-sha1; do
  openssl dgst -$digest empty short middle long
done

echo '-- ciphers'
key=000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f
iv=f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff
for cipher in aes-{128,192,256}-{cbc,ctr} aes-128-{ecb,cfb,cfb1,cfb8,ofb} camellia-{128,256}-{cbc,ctr} \
  aria-{128,256}-{cbc,ctr} sm4-{cbc,ctr} des-ede3-cbc chacha20; do
  case $cipher in
    *-128-* | sm4-*) k=${key:0:32} ;;
    *-192-* | des-ede3-*) k=${key:0:48} ;;
    *) k=$key ;;
  esac
  v=$iv
  case $cipher in *-ecb) v= ;; des-*) v=${iv:0:16} ;; esac
  file=long
  case $cipher in *-cfb1) file=middle ;; esac
  openssl enc -$cipher -K $k ${v:+-iv $v} -in $file -out sealed.$cipher
  openssl enc -d -$cipher -K $k ${v:+-iv $v} -in sealed.$cipher -out opened
  cmp $file opened || echo "$cipher does not open what it sealed"
done
openssl dgst -sha256 -r sealed.*
for cipher in aes-128-cbc chacha20; do
  openssl enc -$cipher -pbkdf2 -iter 300 -S 0102030405060708 -pass pass:secret -a -in short
done

echo '-- message authentication and key derivation'
openssl dgst -sha256 -hmac key long
openssl mac -cipher AES-128-CBC -macopt hexkey:${key:0:32} -in long CMAC
openssl mac -macopt hexkey:$key -in long Poly1305
openssl mac -macopt hexkey:${key:0:32} -in long SipHash
openssl mac -cipher AES-128-GCM -macopt hexkey:${key:0:32} -macopt hexiv:${iv:0:24} -in long GMAC
openssl mac -macopt hexkey:$key -in long KMAC256
openssl kdf -keylen 40 -kdfopt digest:SHA2-256 -kdfopt key:secret -kdfopt salt:salt -kdfopt info:label HKDF
openssl kdf -keylen 40 -kdfopt digest:SHA512 -kdfopt pass:secret -kdfopt salt:salt -kdfopt iter:300 PBKDF2
openssl kdf -keylen 40 -kdfopt pass:secret -kdfopt salt:salt -kdfopt n:64 -kdfopt r:8 -kdfopt p:1 SCRYPT
for method in -6 -1 -apr1; do openssl passwd $method -salt saltsalt password; done

echo '-- public keys'
openssl prime -hex 7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFED
ed25519='MC4CAQAwBQYDK2VwBCIEI'
openssl pkey -out ed.pem <<END
-----BEGIN PRIVATE KEY-----
${ed25519}AABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f
-----END PRIVATE KEY-----
END
openssl pkeyutl -sign -inkey ed.pem -rawin -in middle | openssl base64
openssl pkey -in ed.pem -pubout
sign_and_verify() {
  openssl pkey -in key.pem -pubout -out public.pem
  openssl dgst -sha256 -sign key.pem -out signature long
  openssl dgst -sha256 -verify public.pem -signature signature long
}
openssl genrsa -out key.pem 1024 2> error && sign_and_verify
for curve in prime256v1 secp521r1 sect283k1; do
  openssl ecparam -name $curve -genkey -noout -out key.pem && sign_and_verify
done
