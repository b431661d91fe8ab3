/* A PAM module that does what its arguments say, one after the other:
 *   say=TEXT warn=TEXT        tells the user (PAM_TEXT_INFO, PAM_ERROR_MSG)
 *   ask=TEXT show=TEXT        asks, without and with echo
 *   is=ANSWER                 fails unless the last answer is that
 *   two=FIRST,SECOND          asks both at once; the answers must be first and second
 *   many=N                    asks N things at once
 *   user=NAME                 makes PAM_USER another
 *   hang crash                as they say
 *   return=N                  ends with that result
 * Without an end of its own it succeeds. */
#include <security/pam_modules.h>
#include <security/pam_ext.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int at_once(pam_handle_t *pamh, int count, const char **texts, char answers[][64]) {
    const struct pam_conv *conv;
    struct pam_message messages[64];
    const struct pam_message *pointers[64];
    struct pam_response *responses = NULL;
    if (pam_get_item(pamh, PAM_CONV, (const void **)&conv) != PAM_SUCCESS || count > 64) return PAM_CONV_ERR;
    for (int i = 0; i < count; i++) {
        messages[i] = (struct pam_message){.msg_style = PAM_PROMPT_ECHO_OFF, .msg = texts[i]};
        pointers[i] = &messages[i];
    }
    int result = conv->conv(count, pointers, &responses, conv->appdata_ptr);
    if (result != PAM_SUCCESS) return result;
    for (int i = 0; i < count && answers; i++) {
        strncpy(answers[i], responses[i].resp ? responses[i].resp : "", 63);
    }
    return PAM_SUCCESS;
}

static int run(pam_handle_t *pamh, int argc, const char **argv) {
    char *answer = NULL;
    for (int i = 0; i < argc; i++) {
        const char *value = strchr(argv[i], '=');
        value = value ? value + 1 : "";
#define DOES(word) (strncmp(argv[i], word "=", sizeof(word)) == 0)
        int result = PAM_SUCCESS;
        if (DOES("say")) result = pam_info(pamh, "%s", value);
        else if (DOES("warn")) result = pam_error(pamh, "%s", value);
        else if (DOES("ask")) result = pam_prompt(pamh, PAM_PROMPT_ECHO_OFF, &answer, "%s", value);
        else if (DOES("show")) result = pam_prompt(pamh, PAM_PROMPT_ECHO_ON, &answer, "%s", value);
        else if (DOES("is")) result = answer && strcmp(answer, value) == 0 ? PAM_SUCCESS : PAM_AUTH_ERR;
        else if (DOES("user")) result = pam_set_item(pamh, PAM_USER, value);
        else if (DOES("two")) {
            char first[64] = "", answers[2][64] = {"", ""};
            strncpy(first, value, sizeof first - 1);
            char *second = strchr(first, ',');
            *second++ = 0;
            const char *texts[2] = {first, second};
            result = at_once(pamh, 2, texts, answers);
            if (result == PAM_SUCCESS && (strcmp(answers[0], "first") || strcmp(answers[1], "second")))
                result = PAM_AUTH_ERR;
        } else if (DOES("many")) {
            const char *texts[64];
            for (int j = 0; j < 64; j++) texts[j] = "again: ";
            result = at_once(pamh, atoi(value), texts, NULL);
        } else if (DOES("return")) result = atoi(value);
        else if (!strcmp(argv[i], "hang")) for (;;) pause();
        else if (!strcmp(argv[i], "crash")) abort();
        if (result != PAM_SUCCESS) return result;
    }
    return PAM_SUCCESS;
}

#define PHASE(name) int name(pam_handle_t *pamh, int flags, int argc, const char **argv) { \
    (void)flags; return run(pamh, argc, argv); }
PHASE(pam_sm_authenticate)
PHASE(pam_sm_acct_mgmt)
PHASE(pam_sm_open_session)

int pam_sm_setcred(pam_handle_t *pamh, int flags, int argc, const char **argv) {
    (void)pamh; (void)flags; (void)argc; (void)argv;
    return PAM_SUCCESS;
}
int pam_sm_close_session(pam_handle_t *pamh, int flags, int argc, const char **argv) {
    return pam_sm_setcred(pamh, flags, argc, argv);
}
/* Both calls of pam_chauthtok(3): only the second changes anything. */
int pam_sm_chauthtok(pam_handle_t *pamh, int flags, int argc, const char **argv) {
    return flags & PAM_PRELIM_CHECK ? PAM_SUCCESS : run(pamh, argc, argv);
}
