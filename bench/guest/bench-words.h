/*
 * What guests of benches share: words of the kernel's command line (bench.gateway=ADDRESS and bench.port=PORT of
 * the host's server), and numbers at random. For one file each, which has included the system's headers.
 */
static char words[4096];
static struct sockaddr_in host = {.sin_family = AF_INET};

/* Value of a word of the command line; NULL when there is none. */
static const char *word(const char *name)
{
    static char value[256];
    const char *found = strstr(words, name);
    if (found == NULL || sscanf(found + strlen(name), "%255s", value) != 1) return NULL;
    return value;
}

/* Reads them, and where the host is; what is missing, or NULL. */
static const char *read_words(void)
{
    int fd = open("/proc/cmdline", O_RDONLY);
    if (fd < 0 || read(fd, words, sizeof words - 1) <= 0) return "/proc/cmdline";
    close(fd);
    const char *address = word("bench.gateway=");
    if (address == NULL) return "bench.gateway=";
    inet_aton(address, &host.sin_addr);
    const char *port = word("bench.port=");
    if (port == NULL) return "bench.port=";
    host.sin_port = htons(atoi(port));
    return NULL;
}

static unsigned long next_random(unsigned long *state)
{
    *state = *state * 6364136223846793005UL + 1442695040888963407UL;
    return *state >> 33;
}
