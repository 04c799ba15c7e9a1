// A worker's sign of life. A worker that takes long for an answer and one that hangs look alike to its client.
//
// transport.cpp accepts a client, serves it until it leaves, and accepts the next. It is compiled with `accept` replaced
// by that of this file (scripts/rpc_backend.py): a thread takes all connections at once. One whose first byte is ALIVE,
// which is no command of the protocol, gets a byte every half second for as long as this process runs, whoever is served
// meanwhile (nitro/engines/remote/pulse.py reads them). All others wait here until the library asks for its next client.

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0  // Python ignores SIGPIPE
#endif

namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

const unsigned char ALIVE = 200;
const milliseconds  PAUSE{500};  // between two signs of life
const size_t        MOST = 64;   // connections that wait or have said nothing yet, and as many that get signs of life

class Door {
public:
    const int listener;

    explicit Door(int listener) : listener(listener) {
        fcntl(listener, F_SETFL, fcntl(listener, F_GETFL) | O_NONBLOCK);
        std::thread([this] { watch(); }).detach();
    }

    // The next client to be served; -1: there will be none.
    int next() {
        std::unique_lock<std::mutex> hold(lock);
        came.wait(hold, [this] { return !clients.empty() || broken; });
        if (clients.empty()) {
            return -1;
        }
        int client = clients.front();
        clients.pop_front();
        return client;
    }

    bool is_broken() {
        std::lock_guard<std::mutex> hold(lock);
        return broken;
    }

private:
    std::mutex lock;
    std::condition_variable came;
    std::deque<int> clients;  // that wait to be served
    bool broken = false;      // the listener takes no more connections
    std::vector<int> silent;  // who has said nothing yet
    std::vector<int> told;    // who gets signs of life

    void watch() {
        auto due = steady_clock::now() + PAUSE;
        while (true) {
            drop_reset();
            std::vector<pollfd> open;
            for (int each : silent) {
                open.push_back({each, POLLIN, 0});
            }
            open.push_back({listener, static_cast<short>(has_room() ? POLLIN : 0), 0});
            auto left = std::chrono::duration_cast<milliseconds>(due - steady_clock::now()).count();
            poll(open.data(), open.size(), static_cast<int>(std::clamp<long long>(left, 0, PAUSE.count())));
            if (open.back().revents && !take()) {
                break;
            }
            for (size_t i = 0; i + 1 < open.size(); i++) {
                if (open[i].revents) {
                    sort_out(open[i].fd);
                }
            }
            if (steady_clock::now() >= due) {
                told.erase(std::remove_if(told.begin(), told.end(), [](int each) { return !beat(each); }), told.end());
                due = steady_clock::now() + PAUSE;
            }
        }
        std::lock_guard<std::mutex> hold(lock);
        for (const auto & held : {silent, told, std::vector<int>(clients.begin(), clients.end())}) {
            std::for_each(held.begin(), held.end(), close);
        }
        clients.clear();
        broken = true;
        came.notify_all();
    }

    // Close clients that have given up before it was their turn: by a reset, as greeting.py does.
    void drop_reset() {
        std::lock_guard<std::mutex> hold(lock);
        auto is_reset = [](int client) {
            pollfd found{client, 0, 0};
            return poll(&found, 1, 0) > 0 && close(client) == 0;
        };
        clients.erase(std::remove_if(clients.begin(), clients.end(), is_reset), clients.end());
    }

    bool has_room() {
        std::lock_guard<std::mutex> hold(lock);
        return silent.size() + clients.size() < MOST;
    }

    // Take a connection. False: the listener is of no use any more.
    bool take() {
        int client = accept(listener, nullptr, nullptr);
        if (client < 0) {
            return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR || errno == ECONNABORTED;
        }
        fcntl(client, F_SETFL, fcntl(client, F_GETFL) & ~O_NONBLOCK);  // which some systems hand on
        silent.push_back(client);
        return true;
    }

    // By the first byte that it says, which stays where it is.
    void sort_out(int client) {
        unsigned char first = 0;
        ssize_t size = recv(client, &first, 1, MSG_PEEK | MSG_DONTWAIT);
        if (size < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) {
            return;
        }
        silent.erase(std::find(silent.begin(), silent.end(), client));
        if (size > 0 && first != ALIVE) {
            std::lock_guard<std::mutex> hold(lock);
            clients.push_back(client);
            came.notify_all();
        } else if (size > 0 && told.size() < MOST && beat(client)) {
            told.push_back(client);
        } else if (size <= 0 || told.size() >= MOST) {
            close(client);
        }
    }

    // False: it is gone, and closed.
    static bool beat(int client) {
        if (send(client, &ALIVE, 1, MSG_DONTWAIT | MSG_NOSIGNAL) > 0 || errno == EAGAIN || errno == EWOULDBLOCK) {
            return true;
        }
        close(client);
        return false;
    }
};

}  // namespace

extern "C" int nitro_accept(int listener, sockaddr *, socklen_t *) {
    static std::mutex lock;
    static Door * door = nullptr;  // never freed: its thread has it
    Door * found;
    {
        std::lock_guard<std::mutex> hold(lock);
        if (!door || door->listener != listener || door->is_broken()) {
            door = new Door(listener);
        }
        found = door;
    }
    return found->next();
}
