# bash, coreutils, sed, awk, grep, bc, gzip, xz and perl on texts and numbers.
cd "$(mktemp -d)"
awk 'BEGIN { srand(42); for (n = 0; n < 2000; n++) { s = (s * 1103515245 + 12345) % 2147483648; printf "%d %08x %s%d %.3f\n", n, s, substr("abcdefghijklmnop", s % 16 + 1, 3), s % 97, s / 1000 - 700000 } }' > table

echo '-- sorting'
for keys in '-n -k2' '-k3,3 -k1,1nr' '-g -k4' '-t. -k2,2 -s' '-u -k3,3' '-R --random-source=table' '-h -k4' '-V -k3' '-f -d' '-M'; do
  echo "$keys $(sort $keys table | sha256sum | cut -c1-16) $(sort $keys table | head -2 | tr '\n' '|')"
done
cut -d' ' -f3 table | sort | uniq -c | sort -rn | head -20
shuf --random-source=table -n 12 table

echo '-- checksums'
for program in md5sum sha1sum sha224sum sha256sum sha384sum sha512sum b2sum cksum sum 'sum -s' 'cksum -a crc' 'cksum -a sm3'; do echo "$program $($program < table)"; done

echo '-- numbers'
seq -f '%.4f' -3 0.37 5 | tr '\n' ' '
seq -w 95 105 | paste -sd,
factor 0 1 97 1001 4294967291 18446744073709551615 18446744073709551557 340282366920938463463374607431768211297 99400891 10000600009
numfmt --to=iec 1 1023 1024 123456789 99999999999
numfmt --from=si 1.5K 27M 3.25G
printf '%d %o %x %X %e %.3f %g %a %s %q\n' 255 255 255 255 12345.678 2.71828 0.0000123 1.5 text 'a b'
printf '%.20f %.0f %.0e %G %Lf\n' 0.1 2.5 15 1e100 1.25 2>&1
echo $((2**62 * 3)) $((-7 / 2)) $((-7 % 3)) $((0x7fffffffffffffff + 1)) $((1 << 40 | 5)) $((36#zz)) $((5 > 3 && 2 < 1)) $((~12345 ^ 999))
for ((n = 1, a = 0, b = 1; n <= 93; n++)); do ((c = a + b, a = b, b = c)); done; echo $a
date -u -d @1700000000 '+%F %T %j %u %V'
date -u -d '2024-02-29 +1 year +3 days' +%F
expr 17 \* 23 % 7 : '\(.\)'
bc -l <<'END'
scale = 60
4 * a(1)
e(1)
s(0.5)
l(2)
sqrt(2)
2^200 / 3^50
obase = 16
2^100 - 1
END

echo '-- awk'
awk '{ sum += $4; square += $4 * $4; count[substr($3, 1, 1)]++ } END { printf "%.6f %.6f %.10g\n", sum / NR, sqrt(square / NR), sum; for (c = 97; c < 113; c++) printf "%s=%d ", sprintf("%c", c), count[sprintf("%c", c)]; print "" }' table
awk 'BEGIN { for (x = -3; x <= 3; x += 0.25) printf "%g %.12g %.12g %.12g %.12g %.12g %d\n", x, sin(x), cos(x), exp(x), atan2(x, 2), log(x * x + 1), x * 10 }'
awk 'BEGIN { print 2 ^ 53 + 1, 1e300 * 1e10, -1 % 3, 7.5 % 2, int(-3.9), 0.1 + 0.2, 1 / 3, 100000 * 100000, 1e6, 123456789012 }'
awk -F' ' 'NR % 100 == 0 { gsub(/[aeiou]/, "<&>"); print toupper($3), length($0), index($0, "."), substr($2, 3, 4), match($0, /[0-9]+\.[0-9]/), RLENGTH }' table

echo '-- sed, grep, tr and others'
sed -n -E '5,400{s/([0-9]+) ([0-9a-f]{8}) (.*)/\3 \2-\1/;/^[a-c]/!d;y/abc/ABC/;p}' table | head -25
sed -e '1~7!d' -e 's/\b\(.\)\(.\)/\2\1/2g' -e '$!N' -e 's/\n/ + /' table | tail -8
grep -cE '^[0-9]*7 .*[02468]\.[0-9]{2}5$' table
grep -nP '(\d)\1 .*(?<=[a-f])\d{2}\b' table | head
grep -obE 'mno[0-9]*' table | head -5
tr -cd 'a-p\n' < table | fold -w 9 | nl -ba | tail -5
tr a-z A-Z < table | head -1
head -40 table | pr -3 -t -w 100 -l 14
join -1 1 -2 1 <(head -30 table | sort -k1,1) <(seq 10 20 | sort)
comm -12 <(cut -c1-3 table | sort -u) <(seq 100 7 400 | sort) | wc -l
head -c 300 table | od -A d -t x1z -t f4 -t d2 | head -12
head -c 64 table | od -t fD -t u8 -t fL
base64 -w 60 table | tail -3; base32 table | tail -2; basenc --z85 <(head -c 40 table)
wc table; tac table | head -2; expand -t 5 table | unexpand -a | head -2; paste -d: <(seq 3) <(seq 4 6); tsort <<< 'a b b c d c'
split -n 3/7 table | sha256sum; csplit -s table 500 1000; cat xx0* | cmp - table && echo whole; fmt -w 50 table | head -3; ptx <<< 'one two three' | head -3

echo '-- compression'
for level in 1 6 9; do gzip -n -$level < table | sha256sum | cut -c1-16; gzip -$level < table | gzip -d | cmp - table; done
for level in 0 3; do xz -$level < table | sha256sum | cut -c1-16; xz -$level < table | xz -d | cmp - table; done

echo '-- bash'
declare -A map=([one]=1 [two]=2 [three]=3); for k in one two three; do echo "$k ${map[$k]}"; done
text='The quick brown fox'; echo "${text^^} ${text//o/0} ${text:4:5} ${#text} ${text##* } ${text%% *} ${text@Q}"
[[ $text =~ (q[a-z]+)\ (b.*)n ]] && echo "${BASH_REMATCH[1]}/${BASH_REMATCH[2]}"
fib() { (($1 < 2)) && echo "$1" || echo $(($(fib $(($1 - 1))) + $(fib $(($1 - 2))))); }; fib 9
list=(c a b); IFS=, ; echo "${list[*]}"; unset IFS; echo {1..10..3} {a..e} {x,y}{1,2}
(exit 7); echo "status $?"; trap 'echo leaving' EXIT; echo $(trap 'echo usr' USR1; kill -USR1 $BASHPID; echo after)
set -- a 'b c' d; for word in "$@"; do echo "[$word]"; done; cat <<< "$((1 + 2))"; false || echo recovered; ! true; echo $?
# Who comes first is chance.
{ for n in 1 2 3; do (sleep 0.0$n; echo "child $n") & done; wait; } | sort; echo done
