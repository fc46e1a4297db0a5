# perl: numbers, packing, sorting, regular expressions.
use strict; use warnings;
my $s = 12345;
sub next_number { $s = ($s * 1103515245 + 12345) % 2147483648; return $s }
print "-- numbers\n";
for (1 .. 300) {
  my ($a, $b) = (next_number() / 1000 - 900000, next_number() / 7 + 1);
  print join(' ', $a, $b, $a + $b, $a - $b, $a * $b, $a / $b, int($a) % 97, $a ** 2, sqrt($b), sin($a), cos($b), atan2($a, $b), exp($a / 1e6), log($b), int($a * $b), sprintf('%.15g %e %.3f', $a, $b, $a)), "\n";
}
print join(' ', 9223372036854775807, 9223372036854775807 + 1, 18446744073709551615, -17 / 4, -17 % 4, 2 ** 0.5, 1e15, 1e16, 0.1 + 0.2, 1e308 * 10, 9**9**9 - 9**9**9, ~5, 1 << 40, 0xff, oct('0b1011')), "\n";
print "-- packing\n";
print unpack('H*', pack('cCsSlLqQnNvVfdw', -5, 200, -300, 60000, -70000, 4e9, -1e15, 1e19, 258, 16909060, 258, 16909060, 1.1, -2.2, 300)), "\n";
print join(',', unpack('(a3)4 x2 n/a*', "abcdefghijkl\0\0\0\3xyzuv")), ' ', unpack('%32C*', 'checksum' x 100), "\n";
print "-- sorting and hashes\n";
my @n = map { next_number() % 1000 } 1 .. 2000;
print join(' ', (sort { $a <=> $b } @n)[0 .. 20]), ' ', join(' ', (sort @n)[100 .. 120]), "\n";
my %h; $h{$_ % 50}++ for @n; print join(' ', map { "$_=$h{$_}" } sort { $h{$b} <=> $h{$a} || $a <=> $b } keys %h), "\n";
print "-- regular expressions\n";
my $text = join ' ', map { chr(97 + $_ % 26) x ($_ % 5 + 1) . $_ } @n[0 .. 300];
print scalar(() = $text =~ /(\w)\1+/g), ' ', join('|', ($text =~ /\b([a-f]+)(\d{2})\b/g)[0 .. 15]), "\n";
(my $t = $text) =~ s/(\d+)/$1 * 2/ge; print substr($t, 0, 300), "\n";
$t =~ tr/a-m/n-z/; print substr($t, 0, 100), ' ', ucfirst(lc 'ABC'), ' ', reverse(split //, 'stressed'), ' ', 'x' lt 'y', "\n";
printf "%s %5.2f|%-8s|%08b|%+d|%x|%s\n", 'a', 3.14159, 'left', 37, 5, 3735928559, join ',', map { $_ ** 2 } grep { $_ & 1 } 1 .. 9;
print crypt('password', '$6$saltsalt$'), "\n";
