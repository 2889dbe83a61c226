package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// A process is a child as its parent sees it.
type process struct {
	name   string
	cmd    *exec.Cmd
	input  io.WriteCloser // a byte lets the child begin, closing it asks it to end
	stderr excerpt
	opened chan struct{} // closed when the child has opened the store and that has been handled
	done   chan struct{} // closed when all that it said has been handled and it has ended

	killed  atomic.Bool
	closed  bool     // it said that it ended well; valid when done
	refusal *failure // it could not open the store; valid when done
	err     error    // what is wrong with how it ended; valid when done
}

// start starts a child with a job. handle is called for each message, from one goroutine; an error of it becomes that of
// the process, which is killed.
func start(name string, j *job, handle func(kind byte, body []byte) error) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(j)
	if err != nil {
		return nil, err
	}
	p := &process{name: name, cmd: exec.Command(self), opened: make(chan struct{}), done: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), childVariable+"="+string(text))
	p.cmd.Stderr = &p.stderr
	if p.input, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go p.run(bufio.NewReaderSize(out, 256<<10), handle)
	return p, nil
}

// run handles what the child says until it ends.
func (p *process) run(out *bufio.Reader, handle func(kind byte, body []byte) error) {
	defer close(p.done)
	for p.err == nil {
		kind, body, err := readMessage(out)
		if err == io.EOF {
			break
		}
		if err == nil {
			err = p.note(kind, body)
		}
		if err == nil {
			err = handle(kind, body)
		}
		if err == nil && kind == kindOpened {
			p.begin()
		}
		p.err = err
	}
	if p.err != nil {
		p.kill()
		_, _ = io.Copy(io.Discard, out) // it no longer matters
	}
	exit := p.cmd.Wait()
	_ = p.input.Close() // the child is gone
	if p.err == nil && p.refusal == nil && !p.closed && !p.killed.Load() {
		p.err = fmt.Errorf("ended by itself: %w\n%s", orNone(exit), p.stderr.text())
	}
}

// note keeps what the parent wants to know about the process itself.
func (p *process) note(kind byte, body []byte) error {
	switch kind {
	case kindClosed:
		p.closed = true
	case kindFailed:
		f, err := parse[failure](body)
		if err == nil && f.Opening {
			p.refusal = &f
			return nil
		}
		return errors.Join(err, errors.New(f.Text))
	}
	return nil
}

// begin lets a child go on that has opened the store. What it found there has been handled by now: other children, whose
// messages come another way, may speak of what it appends before it does.
func (p *process) begin() {
	_, _ = p.input.Write([]byte{1}) // it may have been asked to end already
	close(p.opened)
}

// parse reads the body of a message in JSON.
func parse[T any](body []byte) (v T, err error) {
	err = json.Unmarshal(body, &v)
	return v, err
}

// kill ends the process at once, as kill -9 does.
func (p *process) kill() {
	p.killed.Store(true)
	_ = p.cmd.Process.Kill() // it may have ended already
}

// end asks the process to end and waits until it has, at most so long: then it is killed and has hung.
func (p *process) end(atMost time.Duration) error {
	_ = p.input.Close() // if it has ended already, p.done says so
	ctx, cancel := context.WithTimeout(context.Background(), atMost)
	defer cancel()
	select {
	case <-p.done:
		return p.err
	case <-ctx.Done():
		return p.hung(fmt.Sprintf("has not ended within %v", atMost))
	}
}

// hung kills a process that does not go on, after it has been asked for the stacks of its goroutines.
func (p *process) hung(how string) error {
	_ = p.cmd.Process.Signal(syscall.SIGQUIT) // where that does not exist there are no stacks
	t := time.NewTimer(5 * time.Second)
	defer t.Stop()
	select {
	case <-p.done:
	case <-t.C:
	}
	p.kill()
	<-p.done
	return fmt.Errorf("%s\n%s", how, p.stderr.text())
}

// An excerpt is an io.Writer that keeps the first 64 KiB.
type excerpt struct {
	mu sync.Mutex
	b  []byte
}

// Write keeps what there is room for.
func (e *excerpt) Write(b []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.b = append(e.b, b[:min(len(b), 64<<10-len(e.b))]...)
	return len(b), nil
}

func (e *excerpt) text() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return string(e.b)
}
