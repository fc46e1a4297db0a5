# A loop in doubles: the logistic map beside a sum of square roots.
BEGIN {
  x = 0.3
  for (i = 1; i <= 1000000; i++) {
    x = 3.9 * x * (1 - x)
    sum += sqrt(x * i) / (i + 1.5)
  }
  printf "%.12f %.12f\n", x, sum
}
