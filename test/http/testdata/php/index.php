<?php
function answer($value, $status = 200) {
    http_response_code($status);
    header('Content-Type: application/json');
    echo json_encode($value);
}

switch (strtok($_SERVER['REQUEST_URI'], '?')) {
    case '/': echo 'hello'; break;
    case '/echo':
        $body = file_get_contents('php://input');
        answer(['method' => $_SERVER['REQUEST_METHOD'], 'url' => $_SERVER['REQUEST_URI'],
            'headers' => array_change_key_case(getallheaders()), 'size' => strlen($body),
            'hash' => hash('sha256', $body)]);
        break;
    case '/json': answer(['got' => json_decode(file_get_contents('php://input'))], 201); break;
    case '/form': answer(['got' => $_POST]); break;
    case '/redirect': header('Location: /elsewhere?x=1', true, 302); break;
    case '/cookies':
        setcookie('session', 'a b"c', ['httponly' => true, 'path' => '/']);
        setcookie('theme', 'dark');
        echo 'set';
        break;
    case '/204': http_response_code(204); break;
    case '/etag':
        header('ETag: "v1"');
        if (($_SERVER['HTTP_IF_NONE_MATCH'] ?? '') === '"v1"') http_response_code(304); else echo 'tagged';
        break;
    case '/large':
        header('Content-Type: text/plain');
        ob_start('ob_gzhandler');
        echo str_repeat('compress me ', 10000);
        break;
    case '/chunks': header('Content-Type: text/plain'); echo 'one '; flush(); echo 'two'; break;
    case '/error': http_response_code(500); throw new Exception('on purpose');
    case '/exit': posix_kill(getmypid(), SIGKILL); break;
    default: http_response_code(404); echo 'no such page';
}
