package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"time"
)

func main() {
	runChild()
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// run does what the command line says and returns the exit code.
func run(args []string, stdout, stderr io.Writer) int {
	s := soak{out: stdout}
	flags := flag.NewFlagSet("soak", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.DurationVar(&s.length, "for", 10*time.Minute, "how long; the last store is checked after that")
	flags.Uint64Var(&s.seed, "seed", 0, "where the random choices begin; 0 for a random one")
	flags.StringVar(&s.dir, "dir", "", "directory for the stores; by default a temporary one")
	flags.IntVar(&s.callers, "writers", 4, "goroutines that append")
	flags.DurationVar(&s.interval, "report", 30*time.Second, "time between lines of progress; 0 for none")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	if flags.NArg() > 0 || s.length <= 0 || s.callers < 1 || s.interval < 0 {
		fmt.Fprintln(stderr, "soak: no arguments but flags, and those positive")
		return 2
	}
	if s.seed == 0 {
		s.seed = rand.Uint64()
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := s.main(ctx); err != nil {
		return 1
	}
	return 0
}

// main makes the directory, soaks, and prints what came of it. The directory stays if something was found.
func (s *soak) main(ctx context.Context) error {
	parent := s.dir
	if parent != "" {
		if err := os.MkdirAll(parent, 0o700); err != nil {
			fmt.Fprintln(s.out, "soak:", err)
			return err
		}
	}
	dir, err := os.MkdirTemp(parent, "soak-")
	if err != nil {
		fmt.Fprintln(s.out, "soak:", err)
		return err
	}
	s.dir = dir
	fmt.Fprintf(s.out, "seed %d, %s, in %s\n", s.seed, s.length, s.dir)
	found := s.run(ctx)
	s.figures.print(s.out, s.seed, found)
	if found != nil {
		fmt.Fprintln(s.out, "the files are in", s.dir)
		return found
	}
	return os.RemoveAll(s.dir)
}
