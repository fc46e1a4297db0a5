"""Records, calls, lists, strings and comparisons, in the proportions of the Dhrystone family."""


class Record:
    def __init__(self, following=None, kind=0, value=0, text=""):
        self.following = following
        self.kind = kind
        self.value = value
        self.text = text

    def copy(self):
        return Record(self.following, self.kind, self.value, self.text)


FIRST = "A PROGRAM OF RECORDS, 1'ST STRING"
SECOND = "A PROGRAM OF RECORDS, 2'ND STRING"


def advance(record, number):
    follower = record.following.copy()
    record.value = 5
    follower.value = record.value
    follower.following = record.following
    if follower.kind == 0:
        follower.value = 6 + number % 3
        follower.kind = other(record.kind)
        follower.value = follower.value + 10
    return follower


def other(kind):
    if kind == 0:
        return 2
    if kind == 1:
        return 0 if kind > 100 else 3
    return 1


def differ(left, right):
    at = 1
    while at <= 1:
        if left[at] == right[at + 1]:
            return False
        at += 1
    return left > right


def fill(row, rows, first, second):
    at = first + 5
    row[at] = second
    row[at + 1] = row[at]
    row[at + 30] = at
    for column in range(at, at + 2):
        rows[at][column] = at
    rows[at][at - 1] += 1
    rows[at + 20][at] = row[at]


def main(turns):
    following = Record()
    record = Record(following, 0, 40, FIRST)
    row = [0] * 51
    rows = [row[:] for _ in range(51)]
    total = 0
    for turn in range(turns):
        number, second = 1, 3
        if not differ(FIRST, SECOND):
            number += 1
        while number < second:
            result = 5 * number - second
            number += 1
        fill(row, rows, number, second)
        record = advance(record, turn)
        record.following = following
        for letter in "AB":
            if letter == "C":
                second = 0
        second = second * number
        number = second // result
        total = (total * 31 + number + record.value + record.kind) % 1000000007
    print(total, sum(row), sum(map(sum, rows)))


main(60000)
